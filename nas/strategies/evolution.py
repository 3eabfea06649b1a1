"""Regularised evolution (Real et al. 2019, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.strategies.discrete import DiscreteSearch
from nas.strategies.trials import Proposal, Trial
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample > self.population:
            raise self.out_of_range("sample", f"be at most the population, {self.population}")

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        """The first population by chance, and then children of the last trials that have ended."""
        population = told[-self.population :]
        if number < self.population or not population:
            return Proposal(space.sample(rng))
        places = rng.choice(len(population), min(self.sample, len(population)), replace=False)
        parent = max((population[place] for place in places), key=lambda member: member.score.value)
        return Proposal(mutated(space, parent.architecture, rng))


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
