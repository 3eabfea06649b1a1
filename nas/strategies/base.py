"""What a strategy is given and what it returns. It sees a space and an objective, nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import Field, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from nas.losses.base import Losses
from nas.strategies.proxies import ProxyName
from nas.training.graphs import Graphs
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from search_spaces.cost.latency import Deployment
from search_spaces.ranges import Ranged
from search_spaces.space import SearchSpace

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T")


class Batch(Protocol):
    """One batch, teacher's signals included."""

    @property
    def images(self) -> Tensor: ...


@dataclass(frozen=True)
class Score:
    """How good an architecture came out, and at what cost."""

    value: float
    """More is better (mAP)."""
    cost: float
    """Of the network, less is better (multiply-adds)."""
    seconds: float
    """What it took to find out."""
    pruned: bool = False
    """Whether the training was stopped before its end, so that `value` is of then."""
    parameters: int | None = None
    """Of the network, where they were counted."""
    further: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What else is to be large, by its name (`detection_AP`); in a search all scores have the same names."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.cost, self.seconds, *self.further.values()))):
            raise ValueError(f"a score must be finite, not {self}")


class Scores(Protocol):
    """The objective of a strategy that tries one architecture after the other."""

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        """Trains the architecture's network from scratch for `epochs` epochs and measures it; with a report after each
        epoch, too.
        """

    def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
        """What `proxy` says of the architecture's network before any training."""


class Objective(Scores, Protocol):
    """What the network should become good at; built from data, task losses and the teacher."""

    @property
    def num_steps(self) -> int:
        """Batches in an epoch, of each half."""

    def weight_batches(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        """The batches of `epoch` for the weights, from step `start`: the same ones whenever asked."""

    def alpha_batches(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        """The batches of `epoch` for the alphas, from the half that the weights never see."""

    def loss(self, net: nn.Module, batch: Batch, epoch: int) -> Losses: ...

    def alpha_loss(self, net: nn.Module, batch: Batch, epoch: int) -> Losses: ...

    def hold(self, epoch: int, device: torch.device) -> object:
        """Lets the losses of `epoch` take from tensors on `device`, always the same ones, what a captured step can
        follow there, and gives all else that they depend on."""

    def record(self, epoch: int) -> Mapping[str, object]:
        """What the history should say of `epoch` beside the losses, such as the teacher's temperature."""

    def value(self, net: nn.Module) -> float:
        """How good a network is as it stands, on the alphas' half: more is better (mAP)."""

    def cost(self, architecture: Architecture) -> float:
        """Of the architecture's network; less is better (multiply-adds)."""

    def deployment(self) -> Deployment:
        """Where the networks run in the end: what their milliseconds are of."""


class Loop(Protocol):
    """Epochs and steps that go on where a killed process stopped (`nas.training.stage.Loop`)."""

    epoch: int
    history: list[dict]

    @property
    def now(self) -> float: ...

    def epochs(self) -> Iterator[int]: ...

    def steps(self, batches: Callable[..., Iterable]) -> Iterator: ...

    def add(self, losses: Losses, prefix: str = "loss") -> None: ...

    def end_epoch(self, **record: object) -> None: ...

    def stop(self, why: str) -> None: ...

    def limit(self, minutes: float | None) -> None: ...


class Stage(Protocol):
    """The run's side of a search: where it computes, and what survives (`nas.training.stage.Stage`)."""

    folder: Path
    """The run's."""

    def prepare(self, net: N) -> N:
        """The network on the stage's device, in its memory format."""

    def autocast(self) -> AbstractContextManager: ...

    def gradients(self, total: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
        """Those of a loss, averaged over the processes that search together."""

    def mean(self, gradients: list[Tensor]) -> list[Tensor]:
        """Gradients averaged over the processes that search together."""

    def graphs(self, why_not: str = "") -> Graphs:
        """What takes the steps: as CUDA graphs where that is asked for and nothing stands against it."""

    def first_says(self, what: T) -> T:
        """What the first of the processes says that search together: whatever each measures for itself."""

    def loop(self, num_epochs: int, num_steps: int, parts: Mapping[str, object]) -> Loop: ...


@dataclass(frozen=True)
class SearchResult:
    """The end of a search: architectures with their scores, best first, and the history by epoch."""

    ranked: list[tuple[float, Architecture]]
    history: list[dict]
    front: list[tuple[float, float, Architecture]] = field(default_factory=list)
    """Score, cost and architecture of all that no other beats in both, and in what is `further`, the cheapest first;
    empty without costs."""
    score: str = "log weight"
    """What the scores are."""
    costs: Mapping[Architecture, float] = field(default_factory=dict)
    """As far as the search measured them."""
    further: Mapping[Architecture, Mapping[str, float]] = field(default_factory=dict)
    """What else was to be large, as in `Score`."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What else a user should know of the result, as plain data."""

    @property
    def best(self) -> Architecture:
        return self.ranked[0][1]


class Strategy(Ranged, ABC):
    """A way to search: a frozen dataclass of its constants. A subclass of `OneShotSearch` searches, one of
    `nas.strategies.discrete.DiscreteSearch` proposes what to try."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    epochs: int
    minutes: float | None
    by_trials: ClassVar[bool] = False
    """Whether `epochs` are those of each of its `trials`, not of the whole search."""
    trains: ClassVar[bool] = True
    """Whether it trains the networks that it tries."""

    @property
    def shares_steps(self) -> bool:
        """Whether several processes can search together, each with batches of its own."""
        return not self.by_trials

    @property
    def measure(self) -> str:
        """What the scores of its trials are."""
        return "mAP"

    @property
    def asks_proxy(self) -> bool:
        """Whether it asks a zero-cost proxy, which judges networks that give one feature for each image."""
        return False

    @property
    def budget(self) -> str:
        """In words."""
        epochs = f"{self.epochs} epochs" if self.trains else "no training"
        return f"{getattr(self, 'trials', 0)} trials of {epochs}" if self.by_trials else epochs

    def counts_like(self, other: Strategy) -> bool:
        """Whether epochs mean the same to both."""
        return (self.by_trials, self.trains) == (other.by_trials, other.trains)

    def with_budget_of(self, other: Strategy) -> Self:
        """The same in the place of `other`: with its minutes and, where they mean the same, its epochs and trials."""
        counts = ("epochs", "trials") if self.counts_like(other) else ()
        shared = [name for name in (*counts, "minutes") if hasattr(self, name) and hasattr(other, name)]
        budget: dict[str, Any] = {name: getattr(other, name) for name in shared}
        return replace(self, **budget)

    def check(self, space: SearchSpace) -> None:
        """Raises ValueError naming what this strategy cannot decide in `space`. Nothing is allocated."""

    def small(self) -> Self:
        """The same for two epochs."""
        return replace(self, epochs=2)


class OneShotSearch(Strategy):
    """A strategy that trains networks of its own, such as a supernet, and ends with what they say."""

    @abstractmethod
    def search(self, space: SearchSpace, objective: Objective, stage: Stage) -> SearchResult: ...
