"""Fast re-ID: which recipe reproduces a row of its tables, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas.losses.kd import KDLoss
from nas.recipe import Recipe
from nas.study.published import Published
from runs.recipes import fast_reid
from runs.tables.rows import reported
from teachers.temperature import Constant

Ranks = tuple[float, float, float, float, float]
"""mAP, rank-1, rank-5, rank-10 and rank-20 in percent, as the paper prints them."""

GRID: Mapping[tuple[int, float], Ranks] = {
    (1, 0.1): (61.04, 80.32, 93.26, 95.90, 97.57),
    (1, 0.3): (60.09, 80.13, 92.28, 94.87, 96.43),
    (1, 0.5): (60.01, 80.07, 91.19, 93.56, 95.23),
    (2, 0.1): (61.24, 82.48, 93.26, 95.90, 97.57),
    (2, 0.3): (61.01, 80.31, 93.15, 95.57, 97.24),
    (2, 0.5): (60.89, 80.23, 92.48, 94.32, 96.23),
    (5, 0.1): (62.53, 83.57, 94.01, 96.23, 98.76),
    (5, 0.3): (62.12, 83.02, 93.69, 95.89, 98.02),
    (5, 0.5): (61.78, 82.95, 92.94, 95.03, 97.87),
    (10, 0.1): (61.06, 80.36, 93.28, 95.92, 97.59),
    (10, 0.3): (60.18, 80.17, 92.36, 94.90, 96.51),
    (10, 0.5): (60.19, 80.56, 91.32, 93.76, 95.89),
}
"""Table 2, by temperature and alpha."""
ALONE: Ranks = (49.80, 74.94, 89.76, 93.82, 96.23)
TEACHER: Ranks = (85.72, 94.54, 98.40, 99.05, 99.38)
STUDENT_MINUTES, TEACHER_MINUTES = 25.0, 56.0
"""Of a training on one TITAN Xp (section 4.2)."""

MARKET_IDS = 751
LAYERS = {
    "conv 1x1": (94.86, 74.59),
    "depthwise conv 3x3": (3.06, 1.06),
    "conv 3x3": (1.19, 0.02),
    "fully connected": (0.18, 24.33),
}
"""Table 1: shares of multiply-adds and parameters in percent."""

EVERY = 5
"""Epochs between the points of Figures 8 to 10."""


def table1() -> Sequence[Published]:
    """Where MobileNetV2 has its multiply-adds and parameters, with Market-1501's classifier. What the paper prints are
    the shares of the first MobileNet with ImageNet's 1,000 classes, at 224x224."""
    student = fast_reid.fast_reid_alone()
    return [
        Published(
            name=name,
            recipe=student,
            counted_ids=MARKET_IDS,
            paper={"multiply_adds_share": macs / 100, "parameters_share": parameters / 100},
        )
        for name, (macs, parameters) in LAYERS.items()
    ]


def table2() -> Sequence[Published]:
    """MobileNetV2 distilled at each temperature and alpha, Market-1501."""
    recipe = fast_reid.fast_reid()
    return [
        Published(
            name=f"T = {t}, alpha = {alpha}",
            paper=_ranks(numbers),
            recipe=replace(recipe, loss=KDLoss(alpha=alpha, temperature=Constant(value=float(t)))),
        )
        for (t, alpha), numbers in GRID.items()
    ]


def table3() -> Sequence[Published]:
    """The main models with the minutes of their training, and the student on a baseline as weak as the paper's and on
    a strong one, Market-1501. The paper does not describe its baseline: its numbers stand beside both."""
    weak = (fast_reid.fast_reid_weak_alone(), fast_reid.fast_reid_weak())
    return [
        *_main_models(),
        Published(name="MobileNetV2, weak baseline", recipe=weak[0], paper=_ranks(ALONE)),
        Published(name="MobileNetV2, weak baseline + distillation", recipe=weak[1], paper=_ranks(GRID[5, 0.1])),
        Published(name="MobileNetV2, strong baseline", recipe=fast_reid.fast_reid_strong_alone()),
        Published(name="MobileNetV2, strong baseline + distillation", recipe=fast_reid.fast_reid_strong()),
    ]


def figures5_10() -> Sequence[Published]:
    """Ranked queries of the main models, and what their trainings do: losses, and every five epochs the accuracy."""
    return [replace(row, recipe=_watched(row.recipe)) for row in _main_models()]


def _main_models() -> list[Published]:
    taught = fast_reid.fast_reid()
    alone = fast_reid.fast_reid_alone()
    return [
        Published(name="MobileNetV2", recipe=alone, paper=_ranks(ALONE, STUDENT_MINUTES)),
        Published(name="MobileNetV2 + distillation", recipe=taught, paper=_ranks(GRID[5, 0.1], STUDENT_MINUTES)),
        Published(name="ResNet-50", recipe=taught, paper=_ranks(TEACHER, TEACHER_MINUTES), role="teacher"),
    ]


def _watched(recipe: Recipe) -> Recipe:
    teacher = recipe.teacher
    if teacher is not None:
        teacher = replace(teacher, training=replace(teacher.training, validate_every=EVERY))
    return replace(recipe, teacher=teacher, retrain=replace(recipe.retrain, validate_every=EVERY))


def _ranks(numbers: Ranks, minutes: float = 0.0) -> Mapping[str, float]:
    mean_ap, rank1, rank5, rank10, rank20 = numbers
    further = {"minutes": minutes} if minutes else {}
    return {**reported(rank1, mean_ap, rank5=rank5, rank10=rank10, rank20=rank20), **further}
