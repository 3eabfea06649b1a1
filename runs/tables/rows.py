"""What the papers' tables share: where data sets are looked for, and rows of one network on several data sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from nas.recipe import Recipe
from nas.study.published import Published

DATA = Path("data")

Numbers = tuple[float, float]
"""Rank-1 and mAP in percent, as papers print them."""


def reported(rank1: float, mean_ap: float) -> Mapping[str, float]:
    """Percent, as papers print them, to shares."""
    return {"rank1": rank1 / 100, "mAP": mean_ap / 100}


def mean_of(runs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Of each number that the runs have."""
    return {key: mean(run[key] for run in runs) for key in runs[0]}


def rows_by_data_set(name: str, recipes: Mapping[str, Recipe], numbers: Sequence[Numbers]) -> list[Published]:
    """A network's row on each data set; `recipes` and `numbers` are in the same order."""
    return [
        Published(name=f"{name}, {label}", recipe=recipe, paper=reported(*both))
        for (label, recipe), both in zip(recipes.items(), numbers, strict=True)
    ]
