"""A recipe: everything that decides a run, as plain data. A recipe function in `runs/recipes` returns one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nas.data.base import ReIDData
from nas.data.images import Images
from nas.data.sets import SETS
from nas.data.sets.held_out import HeldOut
from nas.data.source import DataSource
from nas.losses.base import Loss
from nas.losses.hints import HintLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.vrkd import BranchesLoss, VRKDLoss
from nas.models.classifier import Classifier
from nas.models.pretrained import check_there
from nas.strategies import STRATEGIES
from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.hinted import Hinted
from students.ksl import KSL
from students.reid import ReID, ReIDSpace
from teachers.directional import Directional
from teachers.ensemble import Ensemble

KINDS = (
    *SETS.values(),
    HeldOut,
    Cells,
    Classifier,
    DenseNet,
    MobileNetV2,
    OSNet,
    ResNet,
    SDCCNN,
    ShallowCNN,
    ShuffleNetV2,
    KSL,
    Hinted,
    Directional,
    Ensemble,
    KDASLoss,
    KDLoss,
    VRKDLoss,
    BranchesLoss,
    HintLoss,
    KSLLoss,
    NASBench201,
    *map(type, STRATEGIES.values()),
)
"""What a configuration file can name as data, space or strategy: `nas.system.config.decode` knows the classes that are
imported here."""


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """The teacher: which network, and how `nas teach` trains it; or what earlier runs trained."""

    net: ReIDSpace = field(default_factory=lambda: ReID(backbone=ResNet(depth=50, last_stride=1), embedding_dim=None))
    weights: Path | None = None
    """A `teacher.safetensors`, or a `student.safetensors`; None: the one in the run's folder."""
    members: tuple[Path, ...] = ()
    """Several such files, which `nas teach` joins into an ensemble instead of training `net`."""
    loss: Loss = field(default_factory=KDASLoss)
    training: Training = field(default_factory=lambda: Training(pretrained="imagenet"))

    def __post_init__(self) -> None:
        if self.weights and self.members:
            raise ValueError(
                "a teacher has weights or members, not both: leave out one of --teacher.weights and --teacher.members"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run: data, teacher, search, retraining, evaluation."""

    data: DataSource
    space: ReIDSpace = field(default_factory=lambda: ReID(backbone=Cells()))
    """The network while it is searched."""
    student: ReIDSpace | None = field(default_factory=lambda: ReID(backbone=Cells(channels=64)))
    """The same space at the size that is retrained; None: as searched."""
    baseline: ReIDSpace | None = None
    """A hand-made network to compare with, trained like the student but from the labels alone."""
    teacher: TeacherRecipe | None = field(default_factory=TeacherRecipe)
    loss: Loss = field(default_factory=KDASLoss)
    """What is minimised, in the search and in the retraining."""
    strategy: Strategy | None = field(default_factory=DARTS)
    """None: nothing is searched, and the published architecture is retrained."""
    architecture: Path | None = None
    """An architecture file to retrain instead of the searched or published one."""
    search: Search = field(default_factory=Search)
    retrain: Training = field(default_factory=Training)
    images: Images = field(default_factory=Images)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0
    machine: Machine = field(default_factory=Machine)

    @property
    def retrained(self) -> ReIDSpace:
        """The space that the retrained student comes from."""
        return self.student or self.space

    def load(self) -> ReIDData:
        """The data set, fit for every stage. Raises ValueError saying what one of them would lack."""
        data = self.data.load()
        check_cameras(data, self.evaluation)
        teaches = self.teacher and not (self.teacher.weights or self.teacher.members)
        trainings = [self.retrain, *([self.teacher.training] if teaches else [])]
        for training in trainings:
            check_there(training.pretrained)
        needed = max(part.sampling.num_ids for part in [*trainings, *([self.search] if self.strategy else [])])
        if len(data.identities) < needed:
            raise ValueError(
                f"a batch draws {needed} identities, {data.name} has {len(data.identities)} to train on: "
                "lower the sampling's num_ids, or take more identities"
            )
        for space, loss, num_epochs in self._trained():
            space.with_ids(len(data.identities)).published()
            check_loss(space, loss, num_epochs)
        if self.strategy and self.search.alpha_loss:
            self.search.alpha_loss.at(0, self.strategy.epochs)
        return data

    def _trained(self) -> Iterator[tuple[ReIDSpace, Loss, int]]:
        """The networks of all stages, what each is trained for, and for how many epochs."""
        if self.teacher and self.teacher.weights is None:
            yield self.teacher.net, self.teacher.loss, self.teacher.training.epochs
        if self.strategy:
            yield self.space, self.loss, self.strategy.epochs
        for space in (self.retrained, self.baseline):
            if space:
                yield space, self.loss, self.retrain.epochs


def check_loss(space: ReIDSpace, loss: Loss, num_epochs: int) -> None:
    """Raises ValueError when the loss leaves the network's branches out, or is not complete by the last epoch."""
    inner, own = space, loss
    while isinstance(inner, Hinted):
        inner = inner.main
    while isinstance(own, HintLoss):
        own = own.each
    if isinstance(inner, KSL) and not isinstance(own, KSLLoss):
        name = type(own).__name__
        raise ValueError(
            f"the branches of {space.title} need a loss that trains them: KSLLoss(each={name}(...)), not {name} alone"
        )
    loss.at(0, num_epochs)


def check_cameras(data: ReIDData, how: Evaluation) -> None:
    """Raises ValueError when the cameras that the evaluation needs are missing."""
    cameras = data.query.cameras is not None and data.gallery.cameras is not None
    if how.same_camera == "remove" and not cameras:
        raise ValueError(
            f"{data.name} has no cameras, so the query's own camera cannot be taken out of its ranking: "
            "use --keep-same-camera, or give the images cameras"
        )
