"""KDAS: which recipe reproduces a row of its tables, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.msmt17 import MSMT17
from nas.data.source import DataSource
from nas.recipe import Recipe
from nas.study.published import Published
from nas.tasks.reid.settings import Evaluation
from runs.recipes import kdas
from runs.tables.rows import DATA, costing, mean_of, reported
from search_spaces.resnet import ResNet

Numbers = tuple[float, float, float, float, float]
"""mAP, rank-1, rank-5 and rank-10 in percent, and parameters in millions."""

Printed = tuple[float, float]
"""Rank-1 and mAP in percent."""

MARKET_IDS = 751
MARKET = kdas.MARKET
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


def table2() -> Sequence[Published]:
    """From ImageNet weights, with and without re-ranking, Market-1501."""
    return [
        _teacher(MARKET, (93.7, 83.2)),
        _teacher(MARKET, (94.7, 93.1), reranked=True),
        *costing(
            [_auto_reid(MARKET, (94.5, 85.1)), _auto_reid(MARKET, (95.4, 94.2), reranked=True)],
            13.1,
            counted_ids=MARKET_IDS,
        ),
        *costing(
            [_kdas(MARKET, (94.7, 85.3)), _kdas(MARKET, (95.6, 94.7), reranked=True)], 14.3, counted_ids=MARKET_IDS
        ),
    ]


def table3() -> Sequence[Published]:
    """The same on CUHK03-NP, labelled and detected, by the architecture that is found on Market-1501."""
    numbers: Mapping[Literal["labeled", "detected"], tuple[Printed, Printed, Printed]] = {
        "labeled": ((76.3, 71.5), (77.9, 73.0), (78.0, 73.2)),
        "detected": ((71.9, 68.0), (73.3, 69.3), (73.4, 70.0)),
    }
    rows: list[Published] = []
    for boxes, (teacher, auto_reid, found) in numbers.items():
        data = CUHK03(root=DATA, boxes=boxes)
        rows += [
            _named(row, boxes) for row in (_teacher(data, teacher), _auto_reid(data, auto_reid), _kdas(data, found))
        ]
    return rows


def table4() -> Sequence[Published]:
    """The same on MSMT17."""
    data = MSMT17(root=DATA)
    return [
        _teacher(data, (77.1, 51.2), rank5=86.6, rank10=90.1),
        _auto_reid(data, (78.2, 52.5), rank5=88.2, rank10=91.1),
        _kdas(data, (78.4, 53.2), rank5=88.3, rank10=91.1),
    ]


def _teacher(data: DataSource, numbers: Printed, reranked: bool = False, **further: float) -> Published:
    row = Published(name="Teacher (ResNet-50)", recipe=_on(kdas.kdas(), data), role="teacher")
    return _printed(row, numbers, reranked, further)


def _auto_reid(data: DataSource, numbers: Printed, reranked: bool = False, **further: float) -> Published:
    """From the labels alone."""
    published = kdas.auto_reid_alone()
    row = Published(name="Auto-ReID's cell", recipe=_from_imagenet(published, data), found_by=published)
    return _printed(row, numbers, reranked, further)


def _kdas(data: DataSource, numbers: Printed, reranked: bool = False, **further: float) -> Published:
    """Searched on Market-1501 under its teacher, retrained under that of `data`."""
    row = Published(name="KDAS-ReID", recipe=_from_imagenet(kdas.kdas(), data), found_by=kdas.kdas())
    return _printed(row, numbers, reranked, further)


def _from_imagenet(recipe: Recipe, data: DataSource) -> Recipe:
    """The retraining of an architecture that is pretrained on ImageNet, in batches of 16 identities (section 4.2.2)."""
    retrain = replace(kdas.kdas_pretrained().retrain, pretrained="imagenet")
    return replace(_on(recipe, data), strategy=None, retrain=retrain)


def _on(recipe: Recipe, data: DataSource) -> Recipe:
    """Rows before and behind re-ranking are of one evaluation; on other data than Market-1501 there are none behind."""
    return replace(recipe, baseline=None, data=data, evaluation=Evaluation(rerank=data == MARKET))


def _printed(row: Published, numbers: Printed, reranked: bool, further: Mapping[str, float]) -> Published:
    name = f"{row.name}{', re-ranked' * reranked}"
    return replace(row, name=name, reranked=reranked, paper=reported(*numbers, **further))


def _named(row: Published, boxes: str) -> Published:
    return replace(row, name=f"{row.name}, {boxes}")


def _reported(mean_ap: float, rank1: float, rank5: float, rank10: float, millions: float) -> Mapping[str, float]:
    further = {"rank5": rank5 / 100, "rank10": rank10 / 100, "parameters": 1e6 * millions}
    return {**reported(rank1, mean_ap), **further}
