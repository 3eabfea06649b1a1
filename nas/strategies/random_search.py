"""Random search: what every other strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.strategies.board import Trial
from nas.strategies.discrete import DiscreteSearch
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RandomSearch(DiscreteSearch):
    """Each trial draws every decision anew, all its options alike."""

    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Chance:
        return Chance(space, rng)


@dataclass(frozen=True)
class Chance:
    """Proposes by chance alone."""

    space: SearchSpace
    rng: np.random.Generator

    def ask(self, number: int) -> Architecture:
        return self.space.sample(self.rng)

    def tell(self, number: int, tried: Trial) -> None:
        """Learns nothing."""
