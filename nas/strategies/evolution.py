"""Regularised evolution (Real et al. 2019, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.strategies.base import Scores
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.proxies import ProxyName
from nas.strategies.trials import Proposal, Proposer, Trial
from search_spaces.architecture import Architecture
from search_spaces.ranges import ADDED, Count, TwoOrMore
from search_spaces.space import SearchSpace

DRAWS = 100
"""How often a mutation is drawn again because it changed nothing."""


@dataclass(frozen=True, kw_only=True)
class Evolution(DiscreteSearch):
    """The best of a random sample of the population has a child, and the oldest of the population dies.

    Population and sample are for some hundred trials, and a quarter competes, as in the paper: 100 and 25, for 20,000.
    """

    population: Count = 20
    """Architectures in the population; the first ones are drawn by chance."""
    sample: Count = 5
    """Members of the population, drawn by chance, that compete to be the parent."""
    warm_start: ProxyName | None = field(default=None, metadata=ADDED)
    """Zero-cost proxy that chooses the first population; None: chance does."""
    warm_draws: TwoOrMore = field(default=50, metadata=ADDED)
    """Architectures drawn for each member of the first population, of which the proxy takes the best."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample > self.population:
            raise self.out_of_range("sample", f"be at most the population, {self.population}")

    @property
    def asks_proxy(self) -> bool:
        return self.warm_start is not None

    def proposer(self, objective: Scores) -> Proposer:
        return self if self.warm_start is None else WarmStarted(self, self.warm_start, objective)

    def begins(self, number: int, told: Sequence[Trial]) -> bool:
        """Whether trial `number` is one of the first population."""
        return number < self.population or not told

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        """The first population by chance, and then children of the last trials that have ended."""
        if self.begins(number, told):
            return Proposal(space.sample(rng))
        population = told[-self.population :]
        places = rng.choice(len(population), min(self.sample, len(population)), replace=False)
        parent = max((population[place] for place in places), key=lambda member: member.score.value)
        return Proposal(mutated(space, parent.architecture, rng))


@dataclass(frozen=True)
class WarmStarted:
    """Evolution whose first population is chosen by a zero-cost proxy (Abdelfattah et al. 2021).

    Each member is the best of draws of its own, so that workers need not wait for one another. Deviation: there the
    population is the best of all draws together.
    """

    evolution: Evolution
    proxy: ProxyName
    objective: Scores

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        if not self.evolution.begins(number, told):
            return self.evolution.propose(space, number, told, rng)
        drawn = [space.sample(rng) for _ in range(self.evolution.warm_draws)]
        return Proposal(max(drawn, key=lambda each: self.objective.estimate(each, self.proxy).value))


def mutated(space: SearchSpace, parent: Architecture, rng: np.random.Generator) -> Architecture:
    """`parent` with one decision drawn again, to another answer if it has one.

    A node with several inputs is one decision. What a new answer makes the space ask is drawn as well.
    """
    names = sorted(parent.decisions)
    for _ in range(DRAWS):
        name = names[rng.integers(len(names))]
        kept = {other: answer for other, answer in parent.decisions.items() if other != name}
        child = space.sample(rng, near=Architecture(parent.space, kept))
        if child != parent:
            break
    return child
