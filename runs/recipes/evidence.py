"""The study of what a teacher's temperature does to the search: arms that differ in the search's loss alone.

Made for 400 identities of Market-1501's training part at 96x48: a search of 200 steps and a retraining of 600 from the
labels, three to four minutes together on one core. `runs/studies/temperature.json` has the arms and what is asked of
them; what came out stands in `runs/RESULTS.md`.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.market1501 import Market1501
from nas.losses.kdas import KDASLoss
from nas.losses.labels import LabelLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam, CosineLR
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.temperature import Constant, Linear

MIRRORED = Augment(crop_padding=0)
"""Two views of each image, so that what the teacher says of all of them can be kept."""
CELLS = Cells(channels=16, cells=3, reductions=(2, 3))


def evidence_falling() -> Recipe:
    """The search hears a shallow CNN at a temperature that falls from 2 to 0; the retraining hears the labels alone."""
    return Recipe(
        data=Market1501(root=Path("data")),
        images=Images(height=96, width=48),
        teacher=_teacher(),
        space=_network(replace(CELLS, channels=8)),
        student=_network(CELLS),
        loss=KDASLoss(temperature=Linear(start=2.0, end=0.0)),
        retrain_loss=LabelLoss(),
        strategy=DARTS(
            epochs=8, weights=SGD(lr=0.05, rate=CosineLR()), alphas=Adam(lr=0.1, betas=(0.5, 0.999)), num_ranked=5
        ),
        search=Search(augment=MIRRORED, sampling=ClassBalanced(num_ids=8, images_per_id=2, num_batches=25)),
        retrain=Training(
            epochs=3,
            augment=MIRRORED,
            sampling=ClassBalanced(num_ids=8, images_per_id=4, num_batches=200),
            optimiser=Adam(lr=1.5e-3, rate=CosineLR(warmup_epochs=1)),
        ),
        machine=Machine(threads=1),
    )


def evidence_constant() -> Recipe:
    """The same with the teacher at the constant temperature 2."""
    return replace(evidence_falling(), loss=KDASLoss(temperature=Constant(value=2.0)))


def evidence_sharp() -> Recipe:
    """The same with the teacher at the constant temperature 1, the control for the weight that a falling one gives."""
    return replace(evidence_falling(), loss=KDASLoss(temperature=Constant(value=1.0)))


def evidence_labels() -> Recipe:
    """The same without a teacher: the search hears the labels alone, too."""
    return replace(evidence_falling(), teacher=None, loss=LabelLoss())


def evidence_shallow_cnn() -> Recipe:
    """VRKD's shallow CNN under the same retraining from the labels, without a search."""
    return _by_hand(ShallowCNN())


def evidence_resnet() -> Recipe:
    """ResNet-18 x0.25 under the same retraining, without a search."""
    return _by_hand(ResNet(depth=18, width=0.25))


def evidence_mobilenet() -> Recipe:
    """MobileNetV2 under the same retraining, without a search."""
    return _by_hand(MobileNetV2())


def evidence_osnet() -> Recipe:
    """OSNet x0.25 under the same retraining, without a search."""
    return _by_hand(OSNet(width=0.25))


def _by_hand(backbone: SearchSpace) -> Recipe:
    return replace(evidence_labels(), space=_network(backbone), student=None, strategy=None)


def _network(backbone: SearchSpace) -> ReID:
    return ReID(backbone=backbone, embedding_dim=256)


def _teacher() -> TeacherRecipe:
    """VRKD's shallow CNN from scratch."""
    return TeacherRecipe(
        net=_network(ShallowCNN()),
        loss=LabelLoss(),
        training=Training(
            epochs=7,
            augment=Augment(crop_padding=5),
            sampling=ClassBalanced(num_ids=8, images_per_id=4, num_batches=150),
            optimiser=Adam(lr=1.5e-3, rate=CosineLR(warmup_epochs=1)),
        ),
    )
