"""NAS-Bench-201's cell searched on synthetic pedestrians, to watch how a search by gradient fares beside a table.

The cell that comes out has a row in the benchmark's table, so that its accuracy on CIFAR-10 is an outside judgement.
The alphas rest for an eighth of the epochs, then learn fast: a few minutes on one core show what takes hours otherwise.
There is no triplet loss, which from scratch draws these small networks' features to one point. What came out stands in
`runs/RESULTS.md`.
"""

from dataclasses import replace
from typing import Any

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from nas.losses.kdas import KDASLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.fair_darts import FairDARTS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from nas.strategies.settings import Search
from nas.strategies.smooth_darts import SmoothDARTS
from nas.training.machine import Machine
from nas.training.optimisers import Adam, CosineLR
from nas.training.settings import Training
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.resnet import ResNet
from students.reid import ReID

AUGMENT = Augment(crop_padding=2)
BUDGET: dict[str, Any] = {
    "epochs": 32,
    "warmup_epochs": 4,
    "weights": Adam(lr=3e-3, rate=CosineLR()),
    "alphas": Adam(lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3),
}


def collapse_darts() -> Recipe:
    """DARTS, first order, on NAS-Bench-201's cell, eigenvalue on record: skips grow once the weights have learned."""
    return Recipe(
        data=Pedestrians(num_train_ids=12, num_test_ids=24, images_per_id=64, height=32, width=16),
        images=Images(height=32, width=16),
        teacher=None,
        space=ReID(backbone=NASBench201(channels=8, cells=2), embedding_dim=64),
        student=None,
        loss=KDASLoss(triplet_weight=0.0),
        strategy=DARTS(**BUDGET, eigenvalue_every=2),
        search=Search(augment=AUGMENT, sampling=ClassBalanced(num_ids=8, images_per_id=4, num_batches=24)),
        retrain=Training(epochs=20, augment=AUGMENT, optimiser=Adam(lr=2e-3, rate=CosineLR())),
        machine=Machine(threads=1),
    )


def collapse_stopped() -> Recipe:
    """The same, stopped at a predicted cell of three skips (DARTS+), or when the eigenvalue grows (RobustDARTS)."""
    strategy = DARTS(**BUDGET, eigenvalue_every=2, collapse_skips=3, eigenvalue_growth=1.3, eigenvalue_window=3)
    return replace(collapse_darts(), strategy=strategy)


def collapse_taught() -> Recipe:
    """The same as collapse_darts under a small ResNet-18 teacher, whose temperature falls from 2 to 0."""
    teacher = TeacherRecipe(
        net=ReID(backbone=ResNet(depth=18, width=0.25, last_stride=1), embedding_dim=None),
        training=Training(epochs=12, augment=AUGMENT, optimiser=Adam(lr=1e-3, rate=CosineLR())),
    )
    return replace(collapse_darts(), teacher=teacher)


def collapse_pc_darts() -> Recipe:
    """PC-DARTS on the same cell, data and epochs: candidates see one of four channels."""
    return replace(collapse_darts(), strategy=PCDARTS(**BUDGET, num_parts=4, eigenvalue_every=2))


def collapse_gdas() -> Recipe:
    """GDAS on the same cell, data and epochs: one candidate of each edge is drawn; no eigenvalue to measure."""
    return replace(collapse_darts(), strategy=GDAS(**BUDGET))


def collapse_fair() -> Recipe:
    """FairDARTS on the same cell, data and epochs: candidates do not compete."""
    return replace(collapse_darts(), strategy=FairDARTS(**BUDGET, eigenvalue_every=2))


def collapse_drnas() -> Recipe:
    """DrNAS on the same cell, data and epochs: weights are drawn from a Dirichlet distribution."""
    return replace(collapse_darts(), strategy=DrNAS(**BUDGET))


def collapse_smooth() -> Recipe:
    """SmoothDARTS on the same cell, data and epochs, perturbed by chance."""
    return replace(collapse_darts(), strategy=SmoothDARTS(**BUDGET, eigenvalue_every=2))


def collapse_beta() -> Recipe:
    """The same as collapse_darts with beta-decay, whose weight rises to 50."""
    return replace(collapse_darts(), strategy=DARTS(**BUDGET, eigenvalue_every=2, beta_decay=50.0))


def collapse_perturbed() -> Recipe:
    """The same as collapse_darts, decided by perturbation (DARTS-PT) with an epoch of tuning between two decisions."""
    return replace(collapse_darts(), strategy=DARTS(**BUDGET, selection="perturbation", tuning_epochs=1))
