"""What the papers' tables share: where data sets are looked for, and rows of one network on several data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from nas.recipe import Recipe
from nas.study.published import Published

DATA = Path("data")

Numbers = tuple[float, float]
"""Rank-1 and mAP in percent, as papers print them."""


def reported(rank1: float, mean_ap: float, **further: float) -> Mapping[str, float]:
    """Percent, as papers print them, to shares; `further` ones are `rank5`, `rank10` and `rank20`."""
    return {"rank1": rank1 / 100, "mAP": mean_ap / 100, **{name: value / 100 for name, value in further.items()}}


def costing(
    rows: Sequence[Published], millions: float, macs: float = 0.0, counted_ids: int = 0, counts_backbone: bool = False
) -> list[Published]:
    """The rows with what their paper prints of their network: parameters in millions, and multiply-adds; 0: it prints
    none. What of the network the parameters are: see `Published`."""
    printed = {"parameters": 1e6 * millions} | ({"multiply_adds": macs} if macs else {})
    return [
        replace(row, paper={**row.paper, **printed}, counted_ids=counted_ids, counts_backbone=counts_backbone)
        for row in rows
    ]


def mean_of(runs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Of each number that the runs have."""
    return {key: mean(run[key] for run in runs) for key in runs[0]}


def rows_by_data_set(name: str, recipes: Mapping[str, Recipe], numbers: Sequence[Numbers]) -> list[Published]:
    """A network's row on each data set; `recipes` and `numbers` are in the same order."""
    return [
        Published(name=f"{name}, {label}", recipe=recipe, paper=reported(*both))
        for (label, recipe), both in zip(recipes.items(), numbers, strict=True)
    ]
