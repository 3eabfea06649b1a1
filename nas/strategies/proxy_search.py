"""Search by a zero-cost proxy: nothing is trained, and many architectures are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from nas.strategies.base import Score, Scores
from nas.strategies.proxies import ProxyName
from nas.strategies.random_search import RandomSearch
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, Range


@dataclass(frozen=True, kw_only=True)
class ProxySearch(RandomSearch):
    """Draws architectures by chance and takes the one of whose untrained network a zero-cost proxy says most."""

    trains: ClassVar[bool] = False
    epochs: Annotated[int, Range(least=0, most=0)] = 0
    """Epochs that each trial trains: none."""
    trials: Count = 500
    """Most architectures to look at."""
    pruning: Literal["none"] = "none"
    """How trials stop early: they do not, as none trains."""
    proxy: ProxyName = "naswot"
    """What judges untrained networks: SynFlow, the covariance of the Jacobian, NASWOT or ZiCo."""

    @property
    def measure(self) -> str:
        return self.proxy

    @property
    def asks_proxy(self) -> bool:
        return True

    def score(self, objective: Scores, architecture: Architecture, report: PruneCallback | None = None) -> Score:
        return objective.estimate(architecture, self.proxy)

    def small(self) -> Self:
        return replace(self, trials=3)
