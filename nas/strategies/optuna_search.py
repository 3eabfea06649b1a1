"""Optuna's samplers as strategies. Optuna itself is imported when it is needed, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nas.strategies.discrete import DiscreteSearch
from nas.strategies.trials import Proposal, Trial
from search_spaces.ranges import TwoOrMore
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class OptunaSearch(DiscreteSearch):
    """Lets a sampler of Optuna propose: a tree-structured Parzen estimator, a Gaussian process, or NSGA-II.

    NSGA-II weighs the score, and whatever else the search asks for, against the network's cost; read its result from
    the front.
    """

    sampler: Literal["tpe", "gp", "nsga2"] = "tpe"
    """Which sampler of Optuna proposes: a tree-structured Parzen estimator, a Gaussian process, or NSGA-II, which
    weighs score against cost."""
    population: TwoOrMore = 20
    """Architectures in each generation of NSGA-II."""

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        from nas.strategies.optuna_study import suggest

        return suggest(self.sampler, self.population, space, told, int(rng.integers(2**32)))
