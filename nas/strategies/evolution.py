"""Regularised evolution (Real et al. 2019, Algorithm 1)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from nas.strategies.discrete import DiscreteSearch, Proposals, Tried
from search_spaces.base import Architecture, SearchSpace

DRAWS = 100
"""How often a mutation is drawn again because it changed nothing."""


@dataclass(frozen=True, kw_only=True)
class Evolution(DiscreteSearch):
    """The best of a random sample of the population has a child, and the oldest of the population dies.

    Population and sample are for some hundred trials, and a quarter competes, as in the paper: 100 and 25, for 20,000.
    """

    population: int = 20
    """The first of them are drawn by chance."""
    sample: int = 5
    """How many compete to be the parent; drawn without one coming up twice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.sample <= self.population:
            raise ValueError(f"sample must be from 1 to population, not {self.sample} with a population of "
                             f"{self.population}")

    def proposals(self, space: SearchSpace, rng: np.random.Generator) -> Proposals:
        population: deque[Tried] = deque(maxlen=self.population)
        while len(population) < self.population:
            population.append((yield space.sample(rng)))
        while True:
            rivals = [population[place] for place in rng.choice(self.population, self.sample, replace=False)]
            parent = max(rivals, key=lambda rival: rival.score.value)
            population.append((yield mutated(space, parent.architecture, rng)))


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
