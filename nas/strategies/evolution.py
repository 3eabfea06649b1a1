"""Regularised evolution (Real et al. 2019, Algorithm 1)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from nas.strategies.board import Trial
from nas.strategies.discrete import DiscreteSearch
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

    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Generations:
        return Generations(space, rng, self.population, self.sample)


class Generations:
    """Proposes the first population by chance, and then children of it."""

    def __init__(self, space: SearchSpace, rng: np.random.Generator, size: int, sample: int) -> None:
        self.space, self.rng, self.size, self.sample = space, rng, size, sample
        self.population: deque[Trial] = deque(maxlen=size)

    def ask(self, number: int) -> Architecture:
        if number < self.size or not self.population:
            return self.space.sample(self.rng)
        places = self.rng.choice(len(self.population), min(self.sample, len(self.population)), replace=False)
        parent = max((self.population[place] for place in places), key=lambda baseline: baseline.score.value)
        return mutated(self.space, parent.architecture, self.rng)

    def tell(self, number: int, tried: Trial) -> None:
        self.population.append(tried)


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
