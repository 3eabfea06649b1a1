"""PC-DARTS: candidates see a part of the channels, and edges have weights of their own (Xu et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.strategies.darts import DARTS
from nas.training.optimisers import Adam, Optimiser
from search_spaces.pick import Edges, Make, candidates
from search_spaces.ranges import Count, CountOrZero
from search_spaces.relaxed import MixedOp, Mixture, Relaxed, States, Supernet
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class PCDARTS(DARTS):
    """Searches by gradient with `1 / num_parts` of each edge's channels, in a space whose `channels` can be divided.

    The epochs, the alphas' Adam and rest, and `num_parts` are the paper's (section 4.2, CIFAR-10);
    the weights' SGD is DARTS's here.
    """

    epochs: Count = 50
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3))
    warmup_epochs: CountOrZero | None = None  # type: ignore[assignment] # read by num_resting alone
    """Epochs at the start in which the alphas are not trained; None: 3 of 10 (the paper: 15 of 50)."""
    num_parts: Count = 4
    """Divisor K of the channels: candidates see the first 1/K of them, the rest passes by (the paper: 4)."""

    @property
    def num_resting(self) -> int:
        return 3 * self.epochs // 10 if self.warmup_epochs is None else self.warmup_epochs

    def supernet(self, space: SearchSpace) -> PartialSupernet:
        narrow = Asked()
        with torch.device("meta"):
            narrowed(space, self.num_parts).build(narrow)
        return PartialSupernet.of(space, Partial(narrow, self.num_parts, self.folded))


def narrowed(space: SearchSpace, num_parts: int) -> SearchSpace:
    """The space with `1 / num_parts` of its channels, wherever inside it they are named.

    Raises ValueError when they cannot be divided, or no part of the space has a field `channels`.
    """
    if hasattr(space, "channels"):
        if space.channels % num_parts:
            raise ValueError(
                f"PC-DARTS takes 1/{num_parts} of the channels, which must be a multiple of {num_parts}: "
                f"{type(space).__name__} has {space.channels}. Change them, or num_parts"
            )
        return replace(space, channels=space.channels // num_parts)
    inner = {f.name: getattr(space, f.name) for f in fields(space) if isinstance(getattr(space, f.name), SearchSpace)}
    if not inner:
        raise ValueError(
            f"PC-DARTS takes a part of the `channels` of a space, and {type(space).__name__} has none: "
            "search Cells or NASBench201, or use darts or gdas"
        )
    return replace(space, **{name: narrowed(part, num_parts) for name, part in inner.items()})


class Asked(Relaxed):
    """Remembers the candidates of each question, in the order of the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Mapping] = []

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        self.asked.append(makers)
        return super().op(name, makers)

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        self.asked.append(makers)
        return super().edges(name, makers, keep, published)


class Partial(Relaxed):
    """Keeps all candidates of a narrower space, which has asked `narrow` the same, on a part of the channels."""

    def __init__(self, narrow: Asked, num_parts: int, folded: bool) -> None:
        super().__init__(folded=folded)
        self.narrow = iter(narrow.asked)
        self.num_parts = num_parts

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        narrow = next(self.narrow)
        return super().op(name, narrow if len(makers) > 1 else makers)

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        return super().edges(name, next(self.narrow), keep, published)

    def _mixed(self, name: str, makers: Mapping[str, Make], options: tuple[str, ...]) -> PartialOp:
        row = self.mixture.row(name, options)
        return PartialOp([*candidates(name, makers).values()], self.mixture, row, self.folded, self.num_parts)


class PartialOp(MixedOp):
    """The candidates on the first `1 / num_parts` of the channels; the rest passes by, halved by max pooling where
    they halve the map. All channels are shuffled, so that other ones come first on the next edge (the paper's code).

    Both parts are multiplied by the edge's weight: the candidates' weights contain it, and it stands behind them.
    """

    def __init__(self, ops: Sequence[nn.Module], mixture: Mixture, row: int, folded: bool, num_parts: int) -> None:
        super().__init__(ops, mixture, row, folded)
        self.out_channels *= num_parts
        self.num_parts = num_parts

    def forward(self, x: Tensor, states: States | None = None, source: int = 0) -> Tensor | None:
        if self.num_parts == 1:
            return super().forward(x, states, source)
        seen, rest = self._divided(x)
        mixed = super().forward(seen)
        share = self.mixture.weights[self.row][-1]
        assert mixed is not None and share is not None  # no candidate is left out
        passed = share * _halved_as(rest, mixed)
        return F.channel_shuffle(torch.cat([mixed, passed], dim=1), self.num_parts)

    @classmethod
    def together(cls, edges: Sequence[Self], states: Sequence[Tensor]) -> Tensor:
        num_parts = edges[0].num_parts
        if num_parts == 1:
            return super().together(edges, states)
        seen, rests = zip(*map(edges[0]._divided, states), strict=True)
        mixed = super().together(edges, seen)
        shares = edges[0].mixture.of_rows([edge.row for edge in edges])[-1].view(len(states), -1)
        passed = torch.stack([_halved_as(rest, mixed).movedim(1, -1) for rest in rests])
        of_edges = torch.einsum("km,kbhwc->bhwmc", shares.to(passed.dtype), passed)
        of_parts = [
            mixed.movedim(1, -1).unflatten(-1, (shares.shape[1], 1, -1)),
            of_edges.unflatten(-1, (num_parts - 1, -1)),
        ]
        return torch.cat(of_parts, dim=-2).transpose(-1, -2).flatten(-3).movedim(-1, 1)

    def _divided(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The channels that the candidates see, and the rest."""
        seen, rest = x.tensor_split([x.shape[1] // self.num_parts], dim=1)
        return seen, rest


def _halved_as(rest: Tensor, mixed: Tensor) -> Tensor:
    """The channels that pass by, in the size of the candidates' sum."""
    return rest if rest.shape[2:] == mixed.shape[2:] else F.max_pool2d(rest, 2, ceil_mode=True)


class PartialSupernet(Supernet):
    """A supernet whose edges are weighted by a softmax over each node's inputs (edge normalisation, Eq. 4).

    A node's weights are a row of alpha of their own, `node.inputs`; nodes with one input have none.
    """

    places: Tensor
    """Of each edge its row, its node's row and its place there `[3, num_edges]`."""

    def __init__(self, net: nn.Module, relaxed: Relaxed, space: str) -> None:
        mixture, inputs = relaxed.mixture, inputs_by_node(relaxed.mixture.options)
        for node, sources in inputs.items():
            mixture.row(f"{node}.inputs", sources)
        super().__init__(net, relaxed, space)
        self.inputs = inputs
        places = [
            (mixture.rows[f"{node}<{source}"], mixture.rows[f"{node}.inputs"], place)
            for node, sources in inputs.items()
            for place, source in enumerate(sources)
        ]
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64).view(-1, 3).T, persistent=False)

    def mixing(self) -> Sequence[Sequence[Tensor | None]]:
        """Each row's candidates' weights times the edge's, and behind the padding the edge's."""
        edge, inputs, place = self.places
        weights = self.weights()
        shares = weights.new_ones(len(weights)).index_put((edge,), weights[inputs, place])[:, None]
        self._mixture.table = torch.cat([weights * shares, shares], dim=1)
        return [row.unbind() for row in self._mixture.table.unbind()]

    def strengths(self) -> dict[str, dict[str, float]]:
        """The product of the operation's and the edge's softmax weight (section 3.3)."""
        alphas = self.alphas()
        shares = {
            f"{node}<{source}": share for node in self.inputs for source, share in alphas.pop(f"{node}.inputs").items()
        }
        return {
            name: {op: weight * shares.get(name, 1.0) for op, weight in options.items()}
            for name, options in alphas.items()
        }


def inputs_by_node(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The sources of each node with several inputs, from the names `node<source` of edges."""
    inputs: dict[str, tuple[str, ...]] = {}
    for node, on_edge, source in (name.partition("<") for name in names):
        if on_edge:
            inputs[node] = (*inputs.get(node, ()), source)
    return {node: sources for node, sources in inputs.items() if len(sources) > 1}
