"""Random search: what every other strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.strategies.discrete import DiscreteSearch, Proposals
from search_spaces.base import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RandomSearch(DiscreteSearch):
    """Each trial draws every decision anew, all its options alike."""

    def proposals(self, space: SearchSpace, rng: np.random.Generator) -> Proposals:
        while True:
            yield space.sample(rng)
