"""The supernet: a Pick that keeps every candidate, weighted by a softmax over the alphas."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Architecture, V
from search_spaces.merged import alike, merged
from search_spaces.ops import Op
from search_spaces.pick import Discrete, Edges, Fixed, Make, Pick, Sampled, candidates
from search_spaces.space import SearchSpace

NONE = "none"
"""DARTS's zero operation: an extra logit of a relaxed edge, never a module."""

FAR = 1e4
"""An alpha in the place of an infinite one: so far from the others a softmax or a sigmoid is exactly 0 or 1."""
CACHE_BYTES = 2**22
"""Bytes of the maps of several states that are read at once on a CPU, at most."""


class Mixture:
    """The current weights of all mixed operations, set by the supernet at each forward pass."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.options: dict[str, tuple[str, ...]] = {}
        self.weights: Sequence[Sequence[Tensor | None]] = ()
        self.table: Tensor | None = None
        """All weights `[num_decisions, num_options]`, where every candidate has one."""
        self._places: dict[tuple[int, ...], Tensor] = {}

    def row(self, name: str, options: tuple[str, ...]) -> int:
        """The row of alpha that answers `name`; the same name gets the same row."""
        if self.options.setdefault(name, options) != options:
            raise ValueError(f"{name!r} was asked with options {self.options[name]} and again with {options}")
        return self.rows.setdefault(name, len(self.rows))

    def of_rows(self, rows: Sequence[int]) -> Tensor:
        """The weights of a few decisions by option `[num_options, num_rows]`."""
        assert self.table is not None
        key = tuple(rows)
        if key not in self._places or self._places[key].device != self.table.device:
            self._places[key] = torch.tensor(key, device=self.table.device)
        return self.table.index_select(0, self._places[key]).T


class Relaxed(Pick):
    """Nobody answers: all candidates stay, except where `architecture` has already decided.

    `folded=False` builds each mixed operation the straightforward way, to compare with.
    """

    affine = False

    def __init__(self, architecture: Architecture | None = None, folded: bool = True) -> None:
        super().__init__()
        self.fixed = Fixed(architecture)
        self.decided = architecture.decisions if architecture else {}
        self.folded = folded
        self.mixture = Mixture()
        self.nodes: dict[str, tuple[dict[int, str], int]] = {}

    def value(self, name: str, options: Sequence[V]) -> V:
        full = self.prefix + name
        if len(options) == 1 or full in self.decided:
            return self._fixed().value(name, options)
        raise ValueError(
            f"a supernet cannot keep all of {full} = {list(options)}: decide it in the architecture given "
            "to Supernet.of, or search with a strategy that samples architectures"
        )

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        full = self.prefix + name
        if len(makers) == 1 or full in self.decided:
            return self._fixed().op(name, makers)
        return self._mixed(full, makers, tuple(makers))

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        full = self.prefix + name
        if full in self.decided:
            return self._fixed().edges(name, makers, keep, published)
        rows = {source: f"{full}<{source}" for source in makers}
        self.nodes[full] = (rows, keep)
        return MixedNode({source: self._mixed(rows[source], ops, (*ops, NONE)) for source, ops in makers.items()})

    def _fixed(self) -> Fixed:
        fixed = copy.copy(self.fixed)
        fixed.prefix = self.prefix
        return fixed

    def _mixed(self, name: str, makers: Mapping[str, Make], options: tuple[str, ...]) -> MixedOp:
        row = self.mixture.row(name, options)
        return MixedOp([*candidates(name, makers).values()], self.mixture, row, self.folded)


def runnable(pick: Pick) -> Discrete:
    """`pick`, or in the place of one that keeps all candidates a sample, to see the shapes that all of them have."""
    if isinstance(pick, Discrete):
        return pick
    sampled = Sampled(np.random.default_rng(0), pick.fixed.architecture if isinstance(pick, Relaxed) else None)
    sampled.prefix = pick.prefix
    return sampled


class States(list):
    """The states of a cell so far; what its candidates have in common is computed once.

    nodes: those that follow, where a supernet may compute all that they read from one state together. Otherwise each
    state's ReLU and pools are shared.
    """

    def __init__(self, states: Sequence[Tensor], nodes: Sequence[nn.Module] = ()) -> None:
        super().__init__(states)
        self._nodes = [*nodes]
        self._sums: list[Tensor] = []
        self._num_read = 0
        self._rectified: dict[int, Tensor] = {}
        self._pooled: dict[tuple, Tensor] = {}

    def rectified(self, i: int) -> Tensor:
        if i not in self._rectified:
            self._rectified[i] = F.relu(self[i])
        return self._rectified[i]

    def pooled(self, i: int, pool: nn.MaxPool2d | nn.AvgPool2d) -> Tensor:
        key = (i, type(pool), pool.kernel_size, pool.stride)
        if key not in self._pooled:
            self._pooled[key] = pool(self[i])
        return self._pooled[key]

    def merged(self, node: MixedNode) -> Tensor | None:
        """The sum of what `node` reads, where all that read a state can be merged; else None: each sees to itself.

        The nodes ask in their order. A new state is read for all that follow at once, side by side in the channels.
        """
        begins = not self._sums
        if not self._nodes or self._nodes[0] is not node or (begins and not node.merges(self._nodes)):
            self._nodes = []
            return None
        new = range(self._num_read, len(self))
        edges = [cast(MixedOp, cast(MixedNode, n).edges[str(source)]) for source in new for n in self._nodes]
        found = self._together(edges, self[self._num_read :]).chunk(len(self._nodes), dim=1)
        own, *self._sums = found if begins else [*map(add, self._sums, found)]
        self._num_read = len(self)
        self._nodes.pop(0)
        return own

    def _together(self, edges: Sequence[MixedOp], states: Sequence[Tensor]) -> Tensor:
        """The sum of what the edges of each state give, side by side; of large maps on a CPU one state after another,
        as what is read at once should stay in its cache."""
        num_edges = len(edges) // len(states)
        if states[0].device.type != "cpu" or len(edges) * states[0].nbytes <= CACHE_BYTES:
            return edges[0].together(edges, states)
        own = [edges[place * num_edges :][:num_edges] for place in range(len(states))]
        return cast(Tensor, summed(each[0].together(each, [x]) for each, x in zip(own, states, strict=True)))


class MixedOp(nn.Module):
    """`sum_o weight_o * o(x)` (DARTS, Eq. 2); the zero operation adds nothing and is not computed.

    A candidate whose weight is None is not computed either; what comes out is None when none of them is. The folded
    form puts each weight into its candidate's last BatchNorm and shares leading ReLUs and pools: the same loss and
    gradients, one map less to keep per candidate. A candidate that has no `weighted` is multiplied as it is.
    """

    def __init__(self, ops: Sequence[nn.Module], mixture: Mixture, row: int, folded: bool) -> None:
        super().__init__()
        self.ops = nn.ModuleList(ops)
        self.out_channels: int = cast(int, ops[0].out_channels)
        self.row = row
        self.folded = folded
        self.mixture = mixture

    def forward(self, x: Tensor, states: States | None = None, source: int = 0) -> Tensor | None:
        weights = self.mixture.weights[self.row]
        kept = [(op, weight) for op, weight in zip(self.ops, weights, strict=False) if weight is not None]
        if not kept:
            return None
        if not self.folded:
            return reduce(add, (weight * op(x) for op, weight in kept))
        states, source = (States([x]), 0) if states is None else (states, source)
        return summed(self._weighted(op, weight, x, states, source) for op, weight in kept)

    @classmethod
    def together(cls, edges: Sequence[Self], states: Sequence[Tensor]) -> Tensor:
        """The sum over `k` states `[B, C, H, W]` of what the `m` edges of each give, side by side `[B, m * C, H, W]`.

        edges: first those of the first state; their candidates are `alike`. A subclass with a forward pass of its own
        and no `together` of its own is never asked.
        """
        options = [*zip(*(edge.ops for edge in edges), strict=True)]
        scales = edges[0].mixture.of_rows([edge.row for edge in edges])[: len(options)]  # behind them is `none`
        return merged(options, scales, states)

    def _weighted(self, op: nn.Module, weight: Tensor, x: Tensor, states: States, source: int) -> Tensor:
        if isinstance(op, Op) and isinstance(op.body, nn.MaxPool2d | nn.AvgPool2d):
            return op.scaled(weight, states.pooled(source, op.body))
        weighted = getattr(op, "weighted", None)
        return weight * op(x) if weighted is None else weighted(weight, x, lambda: states.rectified(source))


def summed(maps: Iterable[Tensor | None]) -> Tensor | None:
    """The sum of those that are there: one new map, as a sum of two is nobody else's and takes up the others."""
    total, own = None, False
    for y in maps:
        if y is None or total is None:
            total = total if y is None else y
        elif own and y.dtype == total.dtype:
            total.add_(y)
        else:
            total, own = total + y, True
    return total


def rows_of_edges(nodes: Mapping[str, tuple[Mapping[int, str], int]]) -> set[str]:
    """The decisions that belong to a supernet's `nodes`."""
    return {row for rows, _ in nodes.values() for row in rows.values()}


def zeros_of(op: nn.Module, x: Tensor) -> Tensor:
    """Zeros in the shape of `op(x)`, found on one image; the running statistics stay as they are."""
    training = op.training
    with torch.no_grad():
        shape = op.eval()(x[:1]).shape[1:]
    op.train(training)
    return x.new_zeros(len(x), *shape)


class MixedNode(nn.Module):
    """The sum of a mixed operation on each earlier state."""

    def __init__(self, edges: Mapping[int, MixedOp]) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({str(source): op for source, op in edges.items()})
        self._alike: bool | None = None

    def merges(self, nodes: Sequence[nn.Module]) -> bool:
        """Whether the candidates of all nodes of a cell, of which this is the first, can be merged in this pass."""
        if self._alike is None:
            self._alike = _all_alike(nodes)
        return self._alike and cast(MixedOp, next(iter(self.edges.values()))).mixture.table is not None

    def forward(self, states: States) -> Tensor:
        own = states.merged(self)
        if own is not None:
            return own
        total = summed(op(states[int(source)], states, int(source)) for source, op in self.edges.items())
        if total is not None:
            return total
        source, op = next(iter(self.edges.items()))
        return zeros_of(cast(MixedOp, op).ops[-1], states[int(source)])


def _all_alike(nodes: Sequence[nn.Module]) -> bool:
    """Whether each node reads all states before it, one more than the node before, and the candidates on all that are
    read at a time, which is the first node's states and then each new one, differ in their parameters alone."""
    mixed = [node for node in nodes if isinstance(node, MixedNode)]
    if len(mixed) != len(nodes):
        return False
    first = len(mixed[0].edges)
    if any(list(node.edges) != [str(i) for i in range(first + place)] for place, node in enumerate(mixed)):
        return False
    late = [
        [node.edges[str(source)] for node in mixed[source - first + 1 :]]
        for source in range(first, first + len(mixed) - 1)
    ]
    readers = [[node.edges[str(source)] for source in range(first) for node in mixed], *late]
    every = [cast(MixedOp, edge) for edges in readers for edge in edges]
    kind = type(every[0])
    if (
        not all(type(edge) is kind and edge.folded for edge in every)
        or not {"forward", "together"} <= vars(kind).keys()
    ):
        return False
    options = [zip(*(cast(MixedOp, edge).ops for edge in edges), strict=True) for edges in readers]
    return all(alike(ops) for of_source in options for ops in of_source)


def padding(options: Mapping[str, Sequence[str]]) -> Tensor:
    """Which places of a table with a row for each decision have no option `[num_decisions, num_options]`."""
    lengths = torch.tensor([len(row) for row in options.values()])
    return torch.arange(max(map(len, options.values()))) >= lengths[:, None]


def by_option(weights: Tensor, options: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """A table of weights `[num_decisions, num_options]` as plain data, by decision and option."""
    rows = weights.detach().tolist()
    return {
        name: dict(zip(row, values, strict=False)) for (name, row), values in zip(options.items(), rows, strict=True)
    }


class Supernet(nn.Module):
    """A network with all candidates, and its alphas: one row for each decision, padded to the longest.

    Input and output are those of the network it relaxes.
    """

    absent: Tensor
    """Which places of a row are padding `[num_decisions, num_options]`."""

    def __init__(self, net: nn.Module, relaxed: Relaxed, space: str) -> None:
        super().__init__()
        mixture = relaxed.mixture
        if not mixture.rows:
            raise ValueError("this space has nothing open for a gradient search: every question is already decided")
        self.net = net
        self.space = space
        self.decided = dict(relaxed.decided)
        self.nodes = relaxed.nodes
        self.options = mixture.options
        self._mixture = mixture
        absent = padding(self.options)
        self.alpha = nn.Parameter(1e-3 * torch.randn(absent.shape))
        self.register_buffer("absent", absent, persistent=False)
        self._given: Tensor | None = None

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        pick: Relaxed | None = None,
        architecture: Architecture | None = None,
        folded: bool = True,
    ) -> Self:
        """The supernet of `space`: all candidates, but what `architecture` decides is built as decided.

        A `pick` of another kind has its own architecture and folding. Raises ValueError when the architecture decides
        what the space does not ask, or leaves nothing open, and for a question that a supernet cannot keep open.
        """
        if pick is not None and (architecture is not None or not folded):
            raise ValueError(
                "Supernet.of takes architecture and folded without a pick, which has its own: give them to the pick"
            )
        pick = pick or Relaxed(architecture, folded)
        net = space.build(pick)
        pick.fixed.close()
        return cls(net, pick, type(space).__name__)

    def forward(self, x: Tensor) -> object:
        self._mixture.weights = self.mixing()
        try:
            return self.net(x)
        finally:
            self._mixture.weights, self._mixture.table = (), None

    def mixing(self) -> Sequence[Sequence[Tensor | None]]:
        """By row, what the candidates of a mixed operation are weighted with in this forward pass."""
        self._mixture.table = self.weights()
        return [row.unbind() for row in self._mixture.table.unbind()]

    def weights(self) -> Tensor:
        """What the options of each decision are weighted with `[num_decisions, num_options]`; padding is 0."""
        return self.weights_of_alpha() if self._given is None else self._given

    def weights_of_alpha(self) -> Tensor:
        """In DARTS the softmax of each row."""
        return torch.softmax(self.alpha.masked_fill(self.absent, -torch.inf), dim=1)

    def log_weights(self) -> Tensor:
        """The logarithm of the same; that of padding means nothing."""
        return torch.log_softmax(self.alpha.masked_fill(self.absent, -torch.inf), dim=1)

    def alpha_of_weights(self, weights: Tensor) -> Tensor:
        """An alpha whose weights are these, up to a rounding."""
        return weights.log()

    @contextmanager
    def weighted_with(self, weights: Tensor) -> Iterator[None]:
        """Weights the candidates with these for a while, whatever alpha is."""
        self._given = weights
        try:
            yield
        finally:
            self._given = None

    def alphas(self) -> dict[str, dict[str, float]]:
        """The weight of every option of every decision."""
        return by_option(self.weights(), self.options)

    def set_alphas(self, alphas: Mapping[str, Mapping[str, float]]) -> None:
        """Takes alphas whose weights are `alphas`, of some decisions or all, as the method of that name gave them."""
        with torch.no_grad():
            for name, of_options in alphas.items():
                weights = torch.tensor([of_options[option] for option in self.options[name]])
                row = self.alpha[self._mixture.rows[name]]
                row[: len(weights)] = self.alpha_of_weights(weights).clamp(-FAR, FAR)

    def strengths(self) -> dict[str, dict[str, float]]:
        """What an architecture is derived by: in DARTS the weights."""
        return self.alphas()
