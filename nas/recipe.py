"""A recipe: everything that decides a run, as plain data. A recipe function in `runs/recipes` returns one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nas.data.augment import Augment
from nas.data.base import ReIDData
from nas.data.images import NUM_THREADS
from nas.data.sampling import ClassBalanced, Sampling
from nas.data.sets import SETS
from nas.data.sets.held_out import HeldOut
from nas.data.source import DataSource
from nas.losses.base import Loss
from nas.losses.hints import HintLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.vrkd import BranchesLoss, VRKDLoss
from nas.metrics.rerank import Rerank
from nas.models.classifier import Classifier
from nas.models.pretrained import check_there
from nas.strategies import STRATEGIES
from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.system.config import WITHOUT_EFFECT
from nas.teacher_spaces import Directional, Ensemble
from nas.training.machine import Machine
from nas.training.optimisers import Adam, CosineRate, Optimiser
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
class Images:
    """The size that images are brought to, the memory their decoded form may take, and who decodes them."""

    height: int = 384
    width: int = 128
    max_gib: float = field(default=8.0, metadata=WITHOUT_EFFECT)
    workers: int = field(default=NUM_THREADS, metadata=WITHOUT_EFFECT)
    """Threads that decode images."""

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 16:
            raise ValueError(f"images must be at least 16x16, not {self.height}x{self.width}")
        if self.max_gib < 0 or self.workers < 1:
            raise ValueError(f"images need max_gib >= 0 and workers >= 1, not {self.max_gib} and {self.workers}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one network is trained. The defaults are KDAS-ReID's training configuration (section 4.2.2).

    The paper names a "starting learning rate" without saying how it falls: here by half a cosine.
    """

    epochs: int = 200
    optimiser: Optimiser = field(default_factory=lambda: Adam(lr=3.5e-4, rate=CosineRate(final=0.01)))
    sampling: Sampling = field(default_factory=lambda: ClassBalanced(num_ids=8, images_per_id=4))
    augment: Augment = field(default_factory=Augment)
    clip: float | None = None
    """Largest norm of the gradient."""
    pretrained: str = ""
    """Weights the backbone starts from: none, `imagenet` (torchvision's, downloaded), or a checkpoint's path."""
    validate_every: int = 0
    """Epochs between evaluations on the test split, to watch alone: the last epoch's network is kept. 0: never."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")


@dataclass(frozen=True, kw_only=True)
class Search:
    """The two halves of a search. The defaults are KDAS-ReID's (section 4.2.1)."""

    sampling: ClassBalanced = field(default_factory=lambda: ClassBalanced(num_ids=8, images_per_id=2))
    augment: Augment = field(default_factory=Augment)
    split: Literal["image", "identity"] = "image"
    """Halve each identity's images (the paper), or keep 2/5 of the identities for the alphas alone (MSINet)."""
    alpha_loss: Loss | None = None
    """What the alphas minimise; None: what the weights do (the paper)."""
    cost: Literal["multiply_adds", "latency_ms"] = "multiply_adds"
    """Of a network that a trial measures: what NSGA-II and the front weigh against mAP."""
    settings: str | None = None
    """What is searched together with the architecture, by the name that `nas tune --space` gives it: distillation,
    fast_reid, vrkd."""
    num_measured_ids: int | None = None
    """The most identities of the alphas' half that a network is measured on; None: all that two cameras see."""

    def __post_init__(self) -> None:
        if self.num_measured_ids is not None and self.num_measured_ids < 2:
            raise ValueError(f"at least 2 identities must be measured on, not {self.num_measured_ids}")


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
class Evaluation:
    """How retrieval is measured."""

    distance: Literal["cosine", "euclidean"] = "cosine"
    ap: Literal["plain", "trapezoid"] = "plain"
    """Average precision: the plain definition, or the trapezoid of Market-1501's MATLAB code."""
    same_camera: Literal["remove", "keep"] = "remove"
    """Whether gallery images of the query's identity and camera are taken out of the ranking."""
    rerank: bool = False
    """Report each network a second time, after k-reciprocal re-ranking."""
    reranking: Rerank = field(default_factory=Rerank)
    repeats: int = 10
    """The most repeats of a protocol that repeats itself (VehicleID); the mean and its spread are reported."""
    flip: bool = False
    """Average the features of each image and its mirror image."""
    batch_size: int = 128
    num_strips: int = 10
    """Queries drawn with their ranked gallery."""
    tsne_ids: tuple[int, ...] = ()
    """Identities whose gallery features are drawn in the plane; none: nine that many cameras see."""

    def __post_init__(self) -> None:
        if min(self.repeats, self.batch_size) < 1 or self.num_strips < 0:
            raise ValueError(
                "an evaluation needs repeats >= 1, batch_size >= 1 and num_strips >= 0, not "
                f"{self.repeats}, {self.batch_size} and {self.num_strips}"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run: data, teacher, search, retraining, evaluation."""

    data: DataSource
    space: ReIDSpace = field(default_factory=lambda: ReID(backbone=Cells()))
    """The network while it is searched."""
    student: ReIDSpace | None = field(default_factory=lambda: ReID(backbone=Cells(channels=64)))
    """The same space at the size that is retrained; None: as searched."""
    rival: ReIDSpace | None = None
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
        for space in (self.retrained, self.rival):
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
