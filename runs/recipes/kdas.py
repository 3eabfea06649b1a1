"""KDAS-ReID (Lei et al., Algorithms 2021): the paper's search and retraining, and the arms of its Table 1.

Market-1501 without pretraining, rank-1 / mAP over four runs (Table 1): baseline 87.0-89.0 / 71.5-72.3; with
distillation 89.3-91.0 / 74.7-75.8; with the falling temperature 90.0-91.1 / 75.7-77.0. ResNet-50 from scratch reaches
87.2 / 68.5, the ResNet-50 teacher 93.7 / 83.2. Made for one CUDA device; nobody has published the time it takes.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.sampling import ClassBalanced
from nas.data.sets.market1501 import Market1501
from nas.losses.kdas import KDASLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.training.optimisers import Adam, CosineLR
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.temperature import Constant, Linear

MARKET = Market1501(root=Path("data"))
PRETRAINED = ClassBalanced(num_ids=16, images_per_id=4)
"""The batches of networks that start from ImageNet weights (section 4.2.2); others take 8 identities."""


def kdas() -> Recipe:
    """KDAS-ReID on Market-1501: the temperature falls from 2 to 0. Expected 90.0-91.1 / 75.7-77.0."""
    teacher = TeacherRecipe(training=Training(pretrained="imagenet", sampling=PRETRAINED))
    return Recipe(data=MARKET, teacher=teacher, baseline=ReID(backbone=ResNet(depth=18)))


def kdas_pretrained() -> Recipe:
    """KDAS-ReID in batches of 16 identities: give --retrain.pretrained and --architecture. Expected 94.7 / 85.3."""
    return replace(kdas(), retrain=Training(sampling=PRETRAINED))


def kdas_to_one() -> Recipe:
    """KDAS-ReID with the temperature falling from 2 to 1, as the paper's abstract says."""
    return replace(kdas(), loss=KDASLoss(temperature=Linear(start=2.0, end=1.0)))


def kdas_constant() -> Recipe:
    """Ablation: distillation at the constant temperature 2. Expected 89.3-91.0 / 74.7-75.8."""
    return replace(kdas(), loss=KDASLoss(temperature=Constant(value=2.0)))


def kdas_baseline() -> Recipe:
    """Ablation: no teacher, cross-entropy and triplet loss. Expected 87.0-89.0 / 71.5-72.3."""
    return replace(kdas(), teacher=None)


def kdas_strong() -> Recipe:
    """KDAS-ReID with a strong retraining: random erasing, warm-up, cosine, larger batches; the baseline's labels smoothed."""  # noqa: E501 - printed as one line
    return replace(kdas(), retrain=strong(), loss=KDASLoss(label_smoothing=0.1))


def auto_reid() -> Recipe:
    """Auto-ReID's published cell, retrained under the KDAS loss without a search. Auto-ReID: 94.5 / 85.1 (ImageNet)."""
    return replace(kdas(), strategy=None)


def auto_reid_alone() -> Recipe:
    """Auto-ReID's published cell, retrained from the labels without a search. Auto-ReID from scratch: 90.7 / 74.6."""
    return replace(kdas_baseline(), strategy=None)


def darts_cell() -> Recipe:
    """DARTS's published CIFAR-10 cell, retrained without a teacher. Expected 85.6 / 65.2."""
    return by_hand(Cells(channels=64, candidates="darts"))


def gdas_cell() -> Recipe:
    """GDAS's published CIFAR-10 cell, retrained without a teacher. Expected 86.5 / 66.8."""
    return by_hand(Cells(channels=64, candidates="gdas"))


def by_hand(backbone: SearchSpace) -> Recipe:
    """A network under the same retraining from the labels, without an embedding: so the paper counts its Table 1."""
    space = ReID(backbone=backbone, embedding_dim=None)
    return replace(kdas_baseline(), strategy=None, space=space, student=None)


def strong(epochs: int = 120) -> Training:
    """A strong baseline's training: 16 identities x 4 images, random erasing, ten epochs of warm-up, then a cosine."""
    return Training(
        epochs=epochs,
        sampling=ClassBalanced(num_ids=16, images_per_id=4),
        augment=Augment(erase=0.5),
        optimiser=Adam(lr=3.5e-4, rate=CosineLR(final=0.002, warmup_epochs=10)),
    )
