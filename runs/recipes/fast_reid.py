"""Fast re-ID by knowledge distillation: MobileNetV2 under ResNet-50 on Market-1501, the paper's Tables 2 and 3.

Rank-1 / mAP (Table 3): MobileNetV2 alone 74.9 / 49.8, distilled at T = 5 and alpha = 0.1 83.6 / 62.5, the teacher
94.5 / 85.7. `fast_reid_weak` and `fast_reid_weak_alone` have no warm-up and no BNNeck: a baseline as weak as the
paper's. Table 2 has all of T in 1, 2, 5, 10 and alpha in 0.1, 0.3, 0.5: `nas tune fast_reid
--parameters fast_reid`. The
paper trained 60 epochs on one TITAN Xp, the student in 25 minutes, the teacher in 56, and names neither image size nor
optimiser: those of the strong baseline stand here.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sets.market1501 import Market1501
from nas.losses.kd import KDLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.training.optimisers import Adam, CosineLR
from runs.recipes.kdas import strong
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from students.reid import ReID

STUDENT = ReID(backbone=MobileNetV2(), embedding_dim=None)


def fast_reid() -> Recipe:
    """Fast re-ID, Table 3: MobileNetV2 distilled from ResNet-50 at T = 5, alpha = 0.1. Expected 83.6 / 62.5."""
    training = replace(strong(epochs=60), pretrained="imagenet")
    teacher = ReID(backbone=ResNet(depth=50, last_stride=1), embedding_dim=None)
    return Recipe(
        data=Market1501(root=Path("data")),
        images=Images(height=256, width=128),
        space=STUDENT,
        student=None,
        strategy=None,
        teacher=TeacherRecipe(net=teacher, training=training),
        loss=KDLoss(),
        retrain=replace(training, augment=Augment()),  # without random erasing
    )


def fast_reid_alone() -> Recipe:
    """Fast re-ID, Table 3: MobileNetV2 without a teacher. Expected 74.9 / 49.8."""
    return replace(fast_reid(), teacher=None)


def fast_reid_weak() -> Recipe:
    """MobileNetV2 distilled on a baseline as weak as the paper's: no warm-up, no BNNeck. Expected 83.6 / 62.5."""
    recipe = fast_reid()
    optimiser = Adam(lr=3.5e-4, rate=CosineLR(final=0.002))
    return replace(recipe, space=replace(STUDENT, neck=False), retrain=replace(recipe.retrain, optimiser=optimiser))


def fast_reid_weak_alone() -> Recipe:
    """MobileNetV2 without a teacher, no warm-up, no BNNeck: as weak as the paper's baseline. Expected 74.9 / 49.8."""
    return replace(fast_reid_weak(), teacher=None)


def fast_reid_strong() -> Recipe:
    """MobileNetV2 distilled on the strong baseline: random erasing, label smoothing. Public baselines: 85.6 / 67.3."""
    recipe = fast_reid()
    assert recipe.teacher, "of which this has the training"
    return replace(recipe, retrain=recipe.teacher.training, loss=KDLoss(label_smoothing=0.1))


def fast_reid_strong_alone() -> Recipe:
    """MobileNetV2 on the strong baseline without a teacher: what distillation has to beat. Public: 85.6 / 67.3."""
    return replace(fast_reid_strong(), teacher=None)
