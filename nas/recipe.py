"""A recipe: everything that decides a run, as plain data. A recipe function in `runs/recipes` returns one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

import nas.data.sets
import nas.losses
from nas.data.images import Images
from nas.data.scene_cache import SceneSize
from nas.data.source import Source
from nas.losses.base import Loss
from nas.losses.kdas import KDASLoss
from nas.models.network import import_spaces
from nas.models.pretrained import check_there
from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.system.config import import_all
from nas.tasks import task_of
from nas.tasks.base import Task, image_size
from nas.tasks.person_search.settings import SearchEvaluation
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.memory import check_memory
from nas.training.pretraining import Pretraining
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.ranges import ADDED, Ranged, Seed
from search_spaces.resnet import ResNet
from students.reid import ReID
from students.space import StudentSpace, check_task

Control = Literal["random-cell", "taught-baseline"]


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(Ranged):
    """The teacher: which network, and how `nas teach` trains it; or what earlier runs trained."""

    net: StudentSpace = field(
        default_factory=lambda: ReID(backbone=ResNet(depth=50, last_stride=1), embedding_dim=None)
    )
    weights: Path | None = None
    """Weights of a trained teacher: a safetensors file of a run; None: those in the run's own folder."""
    members: tuple[Path, ...] = ()
    """Files of trained networks that `nas teach` combines instead of training `net`. Networks for crops become an
    ensemble. For person search the first one is the detector, and the last one with an identity table gives it."""
    loss: Loss = field(default_factory=KDASLoss)
    training: Training = field(default_factory=lambda: Training(pretrained="imagenet"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and self.members:
            raise ValueError(
                "a teacher has weights or members, not both: leave out one of --teacher.weights and --teacher.members"
            )

    def small(self) -> TeacherRecipe:
        """The same with a network of its own, as members know other data."""
        return replace(self, net=self.net.small(), members=(), loss=self.loss.small(), training=self.training.small())


@dataclass(frozen=True, kw_only=True)
class Recipe(Ranged):
    """Everything that decides a run: data, teacher, search, retraining, evaluation."""

    data: Source
    space: StudentSpace = field(default_factory=lambda: ReID(backbone=Cells()))
    """The network while it is searched."""
    student: StudentSpace | None = field(default_factory=lambda: ReID(backbone=Cells(channels=64)))
    """The network at the size that is retrained; None: as searched."""
    baseline: StudentSpace | None = None
    """A hand-designed network to compare with. It is trained like the student, but without the teacher."""
    teacher: TeacherRecipe | None = field(default_factory=TeacherRecipe)
    loss: Loss = field(default_factory=KDASLoss)
    """What is minimised, in the search and in the retraining."""
    retrain_loss: Loss | None = None
    """What the retraining minimises; None: what the search does."""
    strategy: Strategy | None = field(default_factory=DARTS)
    """How the architecture is searched; None: there is no search, and the published architecture is retrained."""
    architecture: Path | None = None
    """Architecture file to retrain instead of the searched or published architecture."""
    search: Search = field(default_factory=Search)
    pretraining: Pretraining = field(default=Pretraining(), metadata=ADDED)
    """How `nas pretrain` trains the student's backbone, for `retrain.pretrained` to start from."""
    retrain: Training = field(default_factory=Training)
    images: Images | SceneSize = field(default_factory=Images)
    evaluation: Evaluation | SearchEvaluation = field(default_factory=Evaluation)
    controls: tuple[Control, ...] = ()
    """What is trained beside the found student to judge it by: a random cell of equal MACs, trained as the student is,
    and the baseline trained under the student's teacher and from the same weights."""
    seed: Seed = 0
    """Seed of all random choices."""
    machine: Machine = field(default_factory=Machine)

    @property
    def retrained(self) -> StudentSpace:
        """The space that the retrained student comes from."""
        return self.student or self.space

    @property
    def student_loss(self) -> Loss:
        """What the student is retrained for."""
        return self.retrain_loss or self.loss

    @property
    def baseline_training(self) -> Training:
        """How the baseline is trained: like the student, but from random weights."""
        return self.retrain.from_scratch()

    @property
    def task(self) -> Task:
        """What the data set is for."""
        return task_of(self.data)

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        """What its losses need of the teacher's maps."""
        return tuple(dict.fromkeys(name for loss in self._taught_losses() for name in loss.teacher_maps))

    @property
    def needs_rehearsal(self) -> bool:
        """Whether its losses need more of the teacher than logits, which every teacher has."""
        return bool(self.teacher_maps) or any(loss.compares_embeddings for loss in self._taught_losses())

    def load(self, to_train: bool = True) -> Any:
        """The data set, fit for every stage. Raises ValueError saying what one of them would lack; of memory only where
        something is `to_train`."""
        self._check_controls()
        for _, space, loss, *_ in self.trained():
            check_task(f"the network {space.title}", space.task, self.data.task)
            check_task(f"the loss {type(loss).__name__}", loss.task, self.data.task)
        data = self.data.load()
        trainings = [self.retrain]
        if self.teacher and not (self.teacher.weights or self.teacher.members):
            trainings.append(self.teacher.training)
        self.task.check(self, data, trainings)
        for training in trainings:
            check_there(training.pretrained)
        self._check_batches()
        for what, space, loss, how, num_epochs in self.trained():
            known = space.with_ids(len(data.identities))
            with torch.device("meta"):
                net = (known.starting_from(how.pretrained) if isinstance(how, Training) else known).student()
            if to_train:
                check_memory(what, net, how.sampling.batch_size, *image_size(self.task, self), self.machine)
            loss.check(space, num_epochs)
        if self.strategy and self.search.alpha_loss:
            self.search.alpha_loss.at(0, self.strategy.epochs)
        return data

    def small(self) -> Recipe:
        """The recipe on synthetic data, with small images and batches and two epochs of each stage, the layers of its
        networks as they are. It shows that everything runs; its result means nothing."""
        return self.task.small(
            replace(
                self,
                space=self.space.small(),
                student=self.student and self.student.small(),
                baseline=self.baseline and self.baseline.small(),
                strategy=self.strategy and self.strategy.small(),
                loss=self.loss.small(),
                retrain_loss=self.retrain_loss and self.retrain_loss.small(),
                teacher=self.teacher and self.teacher.small(),
                search=self.search.small(),
                retrain=self.retrain.small(),
            )
        )

    def trained(self) -> Iterator[tuple[str, StudentSpace, Loss, Training | Search, int]]:
        """The networks of all stages, what each is trained for, on which batches, and for how many epochs."""
        if self.teacher and self.teacher.weights is None:
            training = self.teacher.training
            yield "the teacher", self.teacher.net, self.teacher.loss, training, training.epochs
        if self.strategy:
            epochs = self.strategy.epochs if self.strategy.trains else self.retrain.epochs
            yield "the search", self.space, self.loss, self.search, epochs
        yield "the student", self.retrained, self.student_loss, self.retrain, self.retrain.epochs
        if self.baseline:
            yield "the baseline", self.baseline, self.student_loss, self.baseline_training, self.retrain.epochs
        if self.baseline and "taught-baseline" in self.controls:
            yield "the taught baseline", self.baseline, self.student_loss, self.retrain, self.retrain.epochs

    def _taught_losses(self) -> list[Loss]:
        return [loss for loss in (self.loss, self.retrain_loss, self.search.alpha_loss) if loss]

    def _check_batches(self) -> None:
        """Under a teacher the batches must have as many images as what it says of them needs."""
        stages = [("the search", loss, self.search.sampling) for loss in (self.loss, self.search.alpha_loss)]
        stages = stages * bool(self.strategy) + [("the retraining", self.student_loss, self.retrain.sampling)]
        for stage, loss, sampling in stages * bool(self.teacher):
            if loss and sampling.batch_size < loss.least_images:
                raise ValueError(
                    f"{type(loss).__name__} compares images with each other: the batches of {stage} need at least "
                    f"{loss.least_images} images, and have {sampling.batch_size}. Take larger batches, or another loss"
                )

    def _check_controls(self) -> None:
        lacks = {
            "random-cell": "a strategy that searches" * (self.strategy is None and self.architecture is None),
            "taught-baseline": "a baseline" * (self.baseline is None) or "a teacher" * (self.teacher is None),
        }
        for control in self.controls:
            if lacks[control]:
                raise ValueError(
                    f"--controls {control} needs {lacks[control]}, and the recipe has none: leave it out, or give one"
                )


@cache
def import_classes() -> None:
    """Imports every class of the toolkit that a configuration can name."""
    import_spaces()
    for package in (nas.data.sets, nas.losses):
        import_all(package)
