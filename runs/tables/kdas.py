"""KDAS: which recipe reproduces a row of its Table 1, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas.recipe import Recipe
from nas.study.published import Published
from runs.recipes import kdas
from runs.tables.rows import mean_of, reported
from search_spaces.resnet import ResNet

Numbers = tuple[float, float, float, float, float]
"""mAP, rank-1, rank-5 and rank-10 in percent, and parameters in millions."""

MARKET_IDS = 751
BY_HAND: Mapping[str, tuple[Recipe, Numbers]] = {
    "ResNet-18": (kdas.by_hand(ResNet(depth=18)), (66.0, 85.2, 94.6, 96.5, 11.6)),
    "ResNet-34": (kdas.by_hand(ResNet(depth=34)), (68.0, 86.7, 94.8, 96.6, 21.7)),
    "ResNet-50": (kdas.by_hand(ResNet(depth=50)), (68.5, 87.2, 95.5, 97.1, 25.1)),
    "DARTS's cell": (kdas.darts_cell(), (65.2, 85.6, 94.3, 96.4, 9.1)),
    "GDAS's cell": (kdas.gdas_cell(), (66.8, 86.5, 94.7, 96.9, 13.5)),
}
SEARCHED: Mapping[str, tuple[Recipe, Sequence[Numbers]]] = {
    "Baseline": (
        kdas.kdas_baseline(),
        [
            (71.7, 87.9, 95.9, 97.4, 11.2),
            (71.5, 87.0, 95.7, 97.3, 9.8),
            (72.3, 89.0, 96.5, 97.9, 12.0),
            (72.1, 88.6, 96.4, 97.9, 11.4),
        ],
    ),
    "Baseline + distillation": (
        kdas.kdas_constant(),
        [
            (74.7, 89.7, 96.2, 97.6, 16.5),
            (75.8, 91.0, 96.6, 98.0, 15.0),
            (75.3, 89.9, 96.5, 98.1, 14.3),
            (74.9, 89.3, 96.5, 97.7, 12.1),
        ],
    ),
    "Distillation + dynamic temperature": (
        kdas.kdas(),
        [
            (77.0, 91.1, 97.0, 97.9, 14.3),
            (76.9, 91.1, 96.7, 97.9, 15.7),
            (76.0, 90.0, 96.6, 98.0, 16.4),
            (75.7, 90.1, 96.5, 98.0, 15.4),
        ],
    ),
}


def table1() -> Sequence[Published]:
    """What distillation and the falling temperature bring, Market-1501; Auto-ReID's cell as KSL's Table 2 has it."""
    rows = [
        Published(name=name, recipe=recipe, paper=_reported(*numbers), counted_ids=MARKET_IDS)
        for name, (recipe, numbers) in BY_HAND.items()
    ]
    rows.append(Published(name="Auto-ReID's cell", recipe=kdas.auto_reid_alone(), paper=reported(90.7, 74.6)))
    for name, (recipe, numbers) in SEARCHED.items():
        runs = tuple(_reported(*each) for each in numbers)
        rows.append(Published(name=name, recipe=recipe, paper=mean_of(runs), runs=runs, counted_ids=MARKET_IDS))
    return [replace(row, recipe=replace(row.recipe, baseline=None)) for row in rows]


def _reported(mean_ap: float, rank1: float, rank5: float, rank10: float, millions: float) -> Mapping[str, float]:
    further = {"rank5": rank5 / 100, "rank10": rank10 / 100, "parameters": 1e6 * millions}
    return {**reported(rank1, mean_ap), **further}
