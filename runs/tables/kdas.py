"""KDAS: which recipe reproduces a row of its Table 1, and what the paper printed."""

from collections.abc import Sequence
from dataclasses import replace

from nas.recipe import Recipe
from nas.study.published import Published
from runs.recipes import kdas
from runs.tables.rows import reported
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID


def table1() -> Sequence[Published]:
    """What distillation and the falling temperature bring, Market-1501; searches: means of the paper's four."""
    rows = {
        "ResNet-18": (_by_hand(ResNet(depth=18)), (85.2, 66.0)),
        "ResNet-34": (_by_hand(ResNet(depth=34)), (86.7, 68.0)),
        "ResNet-50": (_by_hand(ResNet(depth=50)), (87.2, 68.5)),
        "DARTS's cell": (kdas.darts_cell(), (85.6, 65.2)),
        "Baseline": (kdas.kdas_baseline(), (88.1, 71.9)),
        "Baseline + distillation": (kdas.kdas_constant(), (90.0, 75.2)),
        "Distillation + dynamic temperature": (kdas.kdas(), (90.6, 76.4)),
    }
    return [
        Published(name=name, recipe=replace(recipe, baseline=None), paper=reported(*numbers))
        for name, (recipe, numbers) in rows.items()
    ]


def _by_hand(backbone: SearchSpace) -> Recipe:
    return replace(kdas.kdas_baseline(), strategy=None, space=ReID(backbone=backbone), student=None)
