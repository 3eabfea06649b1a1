"""Fast re-ID: which recipe reproduces a row of its Tables 2 and 3, and what the paper printed."""

from collections.abc import Sequence
from dataclasses import replace

from nas.losses.kd import KDLoss
from nas.study.published import Published
from runs.recipes import fast_reid
from runs.tables.rows import reported
from teachers.temperature import Constant

GRID = {
    (1, 0.1): (80.32, 61.04),
    (1, 0.3): (80.13, 60.09),
    (1, 0.5): (80.07, 60.01),
    (2, 0.1): (82.48, 61.24),
    (2, 0.3): (80.31, 61.01),
    (2, 0.5): (80.23, 60.89),
    (5, 0.1): (83.57, 62.53),
    (5, 0.3): (83.02, 62.12),
    (5, 0.5): (82.95, 61.78),
    (10, 0.1): (80.36, 61.06),
    (10, 0.3): (80.17, 60.18),
    (10, 0.5): (80.56, 60.19),
}
"""Table 2: rank-1 and mAP in percent by temperature and alpha."""


def table2() -> Sequence[Published]:
    """MobileNetV2 distilled at each temperature and alpha, Market-1501."""
    recipe = fast_reid.fast_reid()
    return [
        Published(
            name=f"T = {t}, alpha = {alpha}",
            paper=reported(*numbers),
            recipe=replace(recipe, loss=KDLoss(alpha=alpha, temperature=Constant(value=float(t)))),
        )
        for (t, alpha), numbers in GRID.items()
    ]


def table3() -> Sequence[Published]:
    """The main models, and the student on a strong baseline, Market-1501."""
    taught = fast_reid.fast_reid()
    return [
        Published(name="MobileNetV2", recipe=fast_reid.fast_reid_alone(), paper=reported(74.94, 49.80)),
        Published(name="MobileNetV2 + distillation", recipe=taught, paper=reported(83.57, 62.53)),
        Published(name="ResNet-50", recipe=taught, paper=reported(94.54, 85.72), role="teacher"),
        Published(name="MobileNetV2, strong baseline", recipe=fast_reid.fast_reid_strong_alone()),
        Published(name="MobileNetV2, strong baseline + distillation", recipe=fast_reid.fast_reid_strong()),
    ]
