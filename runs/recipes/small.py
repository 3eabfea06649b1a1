"""KDAS-ReID sized for a processor: an arm of the ablation takes about a quarter of an hour on one core.

Made for 400 identities of Market-1501's training part at their own size, 128x64. Every arm has the same space, budget,
batches and seeds, and differs in what it listens to alone. What came out stands in `runs/RESULTS.md`.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.market1501 import Market1501
from nas.losses.kdas import KDASLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam, CosineLR
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.temperature import Constant

AUGMENT = Augment(crop_padding=5)
CELLS = Cells(channels=16, cells=5, reductions=(2, 4))


def small_kdas() -> Recipe:
    """The small ablation's third arm: a ResNet-50 teacher, the temperature falls from 2 to 0."""
    return Recipe(
        data=Market1501(root=Path("data")),
        images=Images(height=128, width=64),
        teacher=_teacher(),
        space=_student(replace(CELLS, channels=8)),
        student=_student(CELLS),
        strategy=DARTS(epochs=10, weights=SGD(lr=0.05, rate=CosineLR())),
        search=Search(augment=AUGMENT, sampling=ClassBalanced(num_ids=8, images_per_id=2, num_batches=25)),
        retrain=Training(epochs=4, augment=AUGMENT, optimiser=Adam(lr=1.5e-3, rate=CosineLR(warmup_epochs=1))),
        machine=Machine(teacher_precision="bf16"),
    )


def small_constant() -> Recipe:
    """The small ablation's second arm: the same teacher at the constant temperature 2."""
    return replace(small_kdas(), loss=KDASLoss(temperature=Constant(value=2.0)))


def small_baseline() -> Recipe:
    """The small ablation's first arm: no teacher, cross-entropy and triplet loss."""
    return replace(small_kdas(), teacher=None)


def small_mobilenet() -> Recipe:
    """A baseline of about the same MACs, MobileNetV2 x0.5, from scratch and without a teacher."""
    return _by_hand(small_baseline(), MobileNetV2(width=0.5))


def small_resnet() -> Recipe:
    """Another one, ResNet-18 x0.25, from scratch and without a teacher."""
    return _by_hand(small_baseline(), ResNet(depth=18, width=0.25))


def small_resnet_taught() -> Recipe:
    """The same baseline under the falling temperature: what the teacher alone brings."""
    return _by_hand(small_kdas(), ResNet(depth=18, width=0.25))


def small_darts_cell() -> Recipe:
    """The cell that DARTS found on CIFAR-10, from scratch and without a teacher."""
    return _by_hand(small_baseline(), replace(CELLS, candidates="darts"))


def _student(backbone: SearchSpace) -> ReID:
    return ReID(backbone=backbone, embedding_dim=256)


def _by_hand(recipe: Recipe, backbone: SearchSpace) -> Recipe:
    return replace(recipe, strategy=None, space=_student(backbone), student=None)


def _teacher() -> TeacherRecipe:
    """ResNet-50 with ImageNet weights; no label smoothing, which would blur what it tells the student."""
    return TeacherRecipe(
        net=ReID(backbone=ResNet(depth=50), embedding_dim=None),
        training=Training(
            epochs=9,
            pretrained="imagenet",
            augment=replace(AUGMENT, erase=0.5),
            validate_every=3,
            sampling=ClassBalanced(num_ids=16, images_per_id=4),
            optimiser=Adam(lr=3.5e-4, rate=CosineLR(final=0.01, warmup_epochs=1)),
        ),
    )
