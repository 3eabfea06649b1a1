"""Architectures of a recipe's student, by chance or all there are, with what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nas.recipe import Recipe
from nas.stages.search_entry import student_cost
from search_spaces.architecture import Architecture
from search_spaces.every import every_architecture, num_combinations
from search_spaces.ranges import Positive, PositiveShare, Ranged

MOST = 10_000
"""Architectures of a space that is small enough to take all of them."""
IN_VAIN = 500
"""Draws in a row that bring nothing new, after which there is taken to be nothing new."""
STREAM = 0x7AB1E
"""Keeps its draws apart from the others of the same seed."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """An architecture, and what its student costs without classifier."""

    architecture: Architecture
    multiply_adds: int
    parameters: int

    @classmethod
    def of(cls, recipe: Recipe, architecture: Architecture) -> Sampled:
        return cls(architecture=architecture, **student_cost(recipe, architecture))


@dataclass(frozen=True, kw_only=True)
class Band(Ranged):
    """About equal multiply-adds."""

    multiply_adds: Positive
    """How many an architecture has, give or take a share."""
    within: PositiveShare
    """How far they may be from `multiply_adds`, as a share of these."""

    def has(self, sampled: Sampled) -> bool:
        return abs(sampled.multiply_adds / self.multiply_adds - 1) <= self.within

    def __str__(self) -> str:
        return f"{self.multiply_adds:g} multiply-adds, give or take {100 * self.within:g} %"


def sampled_students(recipe: Recipe, rng: np.random.Generator) -> Iterator[Sampled]:
    """Architectures by chance, without end; one may come up again. Raises ValueError where nothing is left open."""
    space = recipe.retrained.with_ids(1)
    _check_open(recipe)
    counted: dict[Architecture, Sampled] = {}
    while True:
        architecture = space.sample(rng)
        if architecture not in counted:
            counted[architecture] = Sampled.of(recipe, architecture)
        yield counted[architecture]


def distinct_students(recipe: Recipe, num: int | None, band: Band | None = None) -> list[Sampled]:
    """`num` different architectures by chance, or all (None) in an order by chance, as the recipe's seed has it, of the
    band's multiply-adds. More of them begin with the same ones.

    Raises ValueError where there are not so many, and for all of a space of more than ten thousand.
    """
    rng = np.random.default_rng([STREAM, recipe.seed])
    return _all(recipe, band, rng) if num is None else _by_chance(recipe, num, band, rng)


def _by_chance(recipe: Recipe, num: int, band: Band | None, rng: np.random.Generator) -> list[Sampled]:
    found: dict[Architecture, Sampled] = {}
    in_vain = 0
    for sampled in sampled_students(recipe, rng):
        is_new = sampled.architecture not in found and (band is None or band.has(sampled))
        in_vain = 0 if is_new else in_vain + 1
        if is_new:
            found[sampled.architecture] = sampled
        if len(found) == num:
            break
        if in_vain == IN_VAIN:
            of = f" of {band}" if band else ""
            widen = ", or widen --within" if band else ", or all"
            raise ValueError(
                f"--architectures must be at most what {recipe.retrained.title} has: {num} were asked for, and "
                f"{IN_VAIN} draws in a row brought none beyond {len(found)}{of}: ask for fewer{widen}"
            )
    return list(found.values())


def _all(recipe: Recipe, band: Band | None, rng: np.random.Generator) -> list[Sampled]:
    _check_open(recipe)
    space = recipe.retrained.with_ids(1)
    if (count := num_combinations(space)) > MOST:
        raise ValueError(
            f"--architectures all takes at most {MOST:,}, and the questions of {recipe.retrained.title} have {count:,} "
            "combinations of answers: give --architectures N for N of them by chance"
        )
    every = [Sampled.of(recipe, architecture) for architecture in every_architecture(space)]
    kept = [sampled for sampled in every if band is None or band.has(sampled)]
    if not kept:
        raise ValueError(f"none of the {len(every)} architectures has {band}: widen --within, or move --multiply-adds")
    return [kept[place] for place in rng.permutation(len(kept))]


def _check_open(recipe: Recipe) -> None:
    space = recipe.retrained.with_ids(1)
    if not space.published().decisions:
        raise ValueError(f"{space.title} leaves nothing open, so there is no choice: take another space")
