"""Random search: what every other strategy must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.strategies.discrete import DiscreteSearch
from nas.strategies.trials import Proposal, Trial
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RandomSearch(DiscreteSearch):
    """Each trial draws every decision anew, all its options alike."""

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        return Proposal(space.sample(rng))
