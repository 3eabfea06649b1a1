"""NNI's choices in the place of a space's questions, and the supernets that NNI makes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any

import nni
import nni.nas.strategy  # before nni.nas.oneshot, which imports it in a circle
import numpy as np
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from nas.strategies.nni.settings import OneShotSettings
from search_spaces.architecture import Answer, V, Value
from search_spaces.pick import Edges, Make, Pick, candidates
from search_spaces.relaxed import NONE, Mixture, by_option, padding, zeros_of
from search_spaces.space import SearchSpace

nni.silence_stdout()

logging.getLogger("nni").setLevel(logging.ERROR)

Edge = Callable[[int], Tensor]
"""From the index of a state to what comes out of the edge from there."""


class NNIChoices(Pick):
    """Answers with NNI's layer choices, labelled as the questions are named.

    `summed`: a node adds up all its edges, each a choice among its operations and zero, as in DARTS. Otherwise it adds
    up some of its edges, by one more choice `NODE.inputs` among sets of inputs (`"0+1"`), asked as in
    `search_spaces.trial`: NNI's controllers know no choice of several inputs.
    """

    def __init__(self, summed: bool) -> None:
        super().__init__()
        self.summed = summed
        self.affine = not summed
        self.mixture = Mixture()
        self.nodes: dict[str, tuple[dict[int, str], int]] = {}

    def value(self, name: str, options: Sequence[V]) -> V:
        if len(options) == 1:
            return options[0]
        raise ValueError(
            f"a supernet of NNI cannot keep all of {self.prefix}{name} = {list(options)}: search with a "
            "strategy that tries one architecture after the other, such as nni:TPE"
        )

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        modules = candidates(self.prefix + name, makers)
        choice = self._choice(self.prefix + name, modules)
        choice.out_channels = next(iter(modules.values())).out_channels
        return choice

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        full = self.prefix + name
        rows = {source: f"{full}<{source}" for source in makers}
        self.nodes[full] = (rows, keep)
        edges = {}
        for source, of_edge in makers.items():
            ops = candidates(rows[source], of_edge)
            zero = {NONE: Zero(next(reversed(ops.values())))} if self.summed else {}
            edges[source] = self._choice(rows[source], ops | zero)
        sets = [tuple(makers)] if self.summed else combinations(makers, keep)
        sums = {"+".join(map(str, sources)): SumOf(sources) for sources in sets}
        return ChosenEdges(edges, self._choice(f"{full}.inputs", sums))

    def _choice(self, name: str, modules: Mapping[str, nn.Module]) -> nn.Module:
        if len(modules) == 1:
            return next(iter(modules.values()))
        self.mixture.row(name, tuple(modules))
        return LayerChoice(dict(modules), label=name)


class Zero(nn.Module):
    """DARTS's zero operation as a module, which NNI needs. Its map has the shape of `like`'s."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self._like = (like,)  # in a tuple, so that its weights are not this module's
        self._shapes: dict[torch.Size, torch.Size] = {}

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] not in self._shapes:
            self._shapes[x.shape[1:]] = zeros_of(*self._like, x).shape[1:]
        return x.new_zeros(len(x), *self._shapes[x.shape[1:]])


class SumOf(nn.Module):
    """The sum of certain edges."""

    def __init__(self, sources: Sequence[int]) -> None:
        super().__init__()
        self.sources = sources

    def forward(self, edge: Edge) -> Tensor:
        return reduce(add, map(edge, self.sources))


class ChosenEdges(nn.Module):
    """A node: what `chosen` makes of its edges. An edge that it leaves out is not computed."""

    def __init__(self, edges: Mapping[int, nn.Module], chosen: nn.Module) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({str(source): edge for source, edge in edges.items()})
        self.chosen = chosen

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return self.chosen(lambda source: self.edges[str(source)](states[source]))


class Opened(ModelSpace):
    """A space's network with its questions open, as NNI's strategies want it."""

    def __init__(self, space: SearchSpace, pick: NNIChoices) -> None:
        super().__init__()
        self.net = space.build(pick)


class NNISupernet(nn.Module):
    """The supernet that one of NNI's strategies makes of a space. Its alphas, if it has any, are NNI's parameters.

    Architectures derive from it as from ours (`search_spaces.derive.Derivable`).
    """

    absent: Tensor
    """Which places of `weights` are padding."""

    def __init__(self, space: SearchSpace, strategy: OneShotSettings) -> None:
        super().__init__()
        pick = NNIChoices(strategy.learns_alphas)
        warmup = {} if strategy.algorithm == "RandomOneShot" else {"warmup_epochs": strategy.warmup_epochs}
        self.nni = getattr(nni.nas.strategy, strategy.algorithm)(**warmup)
        self.opened = self.nni.mutate_model(Opened(space, pick))
        if not pick.mixture.options:
            raise ValueError(f"{space.title} leaves nothing open: there is one architecture, and nothing to search")
        self.space = type(space).__name__
        self.decided: dict[str, Answer] = {}
        self.nodes = pick.nodes
        self.options = pick.mixture.options
        self.register_buffer("absent", padding(self.options), persistent=False)

    def forward(self, x: Tensor) -> object:
        return self.opened.net(x)

    def choices(self) -> dict[str, list[BaseSuperNetModule]]:
        """By decision, the modules that follow it."""
        choices: dict[str, list[BaseSuperNetModule]] = {name: [] for name in self.options}
        for module in self.modules():
            if isinstance(module, BaseSuperNetModule):
                choices[module.label].append(module)
        return choices

    def architecture_parameters(self) -> list[Tensor]:
        """In the order of the decisions: NNI's own list has another one each time."""
        return [first._arch_alpha for first, *_ in self.choices().values() if hasattr(first, "_arch_alpha")]

    def weights(self) -> Tensor:
        """The softmax of each decision's alphas `[num_decisions, num_options]`; padding is 0."""
        alphas = pad_sequence(self.architecture_parameters(), batch_first=True, padding_value=-torch.inf)
        return torch.softmax(alphas, dim=1)

    def alphas(self) -> dict[str, dict[str, float]]:
        """The softmax weight of every option of every decision."""
        return by_option(self.weights(), self.options)

    def strengths(self) -> dict[str, dict[str, float]]:
        """What an architecture is derived by: in NNI's searches, too, the softmax weights."""
        return self.alphas()

    def take(self, sample: dict[str, str]) -> dict[str, str]:
        """Lets the passes that follow compute the option that `sample` has for each decision."""
        for modules in self.choices().values():
            for module in modules:
                module.resample(memo=sample)
        return sample

    def take_by_chance(self) -> dict[str, str]:
        """The same with options that torch's generator draws, which checkpoints keep; NNI's own has no seed."""
        return self.take({name: options[torch.randint(len(options), ())] for name, options in self.options.items()})


@dataclass(frozen=True)
class Answers:
    """In an Optuna trial's place: suggests what is in a sample of NNI's."""

    sample: Mapping[str, Value]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name not in self.sample:
            raise ValueError(
                f"{name} is asked behind some answers alone, and NNI asks everything at once: search with "
                "evolution or tpe"
            )
        return self.sample[name]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of torch and NumPy, by which NNI's controllers draw and learn, seeded for a while."""
    numpy = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy)
