"""What a task is: everything that a stage wants of a data set, so that no stage knows crops from scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.source import Source
from nas.models.network import Network
from nas.training.stage import Stage
from nas.training.train import Batches
from students.space import StudentModule, StudentSpace

R = TypeVar("R", bound="TaskRecipe")


ONLY_SHOWN = {"measures": False}
"""Metadata of an evaluation's field that changes no number, but how fast they come or what is drawn."""
ADDS = {"adds": True}
"""Metadata of an evaluation's field that adds rows when it is switched on, and changes none."""
FOLDERS = ("features", "queries", "strips", "sheets", "plots", "thumbnails")
"""What evaluations leave beside `metrics.json`, whatever the task: the next one removes them first."""


class TaskRecipe(Protocol):
    """What a task reads of a recipe (`nas.recipe.Recipe`), which is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def data(self) -> Source: ...

    @property
    def images(self) -> Any: ...

    @property
    def evaluation(self) -> Any: ...

    @property
    def search(self) -> Any: ...

    @property
    def strategy(self) -> Any: ...

    @property
    def teacher(self) -> Any: ...

    @property
    def teacher_maps(self) -> tuple[str, ...]: ...

    @property
    def seed(self) -> int: ...

    def trained(self) -> Iterable[tuple[str, StudentSpace, Any, Any, int]]:
        """The networks of all stages, what each is trained for, on which batches (a `Feeding`), and for how many
        epochs."""
        ...


class Feeding(Protocol):
    """How batches are made up: the part of a `Training`, or of a `Search`, that a task reads."""

    @property
    def sampling(self) -> Any: ...

    @property
    def augment(self) -> Any: ...


class Part(Protocol):
    """A part of a data set, to draw batches from, to measure on, or both."""

    @property
    def problem(self) -> str:
        """Why nothing can be measured on it; empty where it can be."""
        ...


@dataclass(frozen=True, kw_only=True)
class EvaluatedNetwork:
    """A network to be measured: the part it plays, and what it is."""

    role: str
    title: str
    net: nn.Module

    @property
    def name(self) -> str:
        return f"{self.role} ({self.title})"


@runtime_checkable
class FindsPersons(Protocol):
    """A deployed network that finds any number of persons in an image, so that an ONNX file of it takes one image at a
    time and gives a row for each of them."""

    out_channels: int
    """Length of a person's feature; 0 of a detector alone."""

    @property
    def needs_query(self) -> bool:
        """Whether it compares the image with a query, which no file of one image can be given."""
        ...

    def finder(self, least_score: float | None = None, num_rows: int | None = None) -> nn.Module:
        """A module whose answers for `[1, 3, H, W]` are tensors of N rows, named by its attribute `outputs`, and which
        the exporter to ONNX can trace. least_score: from which on a person counts, instead of the network's own.
        num_rows: N, whoever is in the image; rows without a person are 0."""
        ...


@runtime_checkable
class TakesFrames(Protocol):
    """A task whose networks take whole frames."""

    def frames(self, data: Any, recipe: TaskRecipe, num_frames: int, size: tuple[int, int]) -> Tensor:
        """At most so many frames of the test split, spread over it, as a deployed network takes them: `[N, 3, *size]`,
        normalised and padded. Those that are larger are left out."""
        ...


@runtime_checkable
class WeighsFurther(Protocol):
    """A task whose networks are good at more than one thing, which a search may weigh against each other."""

    further: tuple[str, ...]
    """Beside the mAP, by the names of `metrics.json`."""

    def values(self, net: nn.Module, part: Any, recipe: TaskRecipe, stage: Stage) -> dict[str, float]:
        """`mAP`, which is `Task.value`, and all that is `further`, of one look at `part`."""
        ...


class Retrieved(NamedTuple):
    """What a network finds on a test part."""

    features: Tensor
    """`[Q + G, D]` of the queries and behind them of the gallery, float32."""
    first: Tensor
    """`[Q]`, int64: what each query finds first, as a place in the gallery; -1 where it finds nothing."""
    mAP: float
    rank1: float


@runtime_checkable
class Retrieves(Protocol):
    """A task whose networks give one feature for each image, so that exported files can be measured like them."""

    def retrieve(self, net: nn.Module, part: Any, recipe: TaskRecipe, stage: Stage, title: str) -> Retrieved:
        """What `net`, which gives features, finds on a test part by the recipe's evaluation. One with
        `takes = "uint8"` gets pixels, any other one normalised images. title: of a bar on a terminal."""
        ...

    def calibration(self, data: Any, recipe: TaskRecipe, num_images: int) -> Tensor:
        """Some training images, uint8 `[N, 3, H, W]`, the same ones each time: `num_images`, or all where there are
        fewer."""
        ...


class Task(Protocol):
    """What a data set is for. It has no state: what it needs it is given."""

    def check(self, recipe: TaskRecipe, data: Any, trainings: Sequence[Feeding]) -> None:
        """Raises ValueError saying what `data` lacks for the recipe's evaluation, its search and the `trainings` that
        it leads to: everything that can be said before work starts."""

    def check_evaluation(self, data: Any, evaluation: Any) -> None:
        """Raises ValueError saying what `data` lacks to be evaluated so."""

    def check_teacher(self, teacher: Network, what: str, student: StudentModule, maps: Sequence[str]) -> None:
        """Raises ValueError where `student` cannot learn what a loss asks of the teacher, which is called `what`, by
        the names `maps`: what a rehearsal does not find, or not in these words."""

    def train_part(self, data: Any, recipe: TaskRecipe) -> Part:
        """The training part, read into memory as far as it fits."""
        ...

    def test_part(self, data: Any, recipe: TaskRecipe) -> Part:
        """The test part, to measure on."""
        ...

    def halves(self, data: Any, recipe: TaskRecipe, rng: np.random.Generator) -> tuple[Part, Part]:
        """Two halves of the training part, for the weights of a search and for its alphas; the second can be measured
        on, unless it has a `problem`."""
        ...

    def batches(self, data: Any, part: Part, how: Feeding, seed: int, stage: Stage) -> Batches:
        """The training batches of this process."""
        ...

    def value(self, net: nn.Module, part: Part, recipe: TaskRecipe, stage: Stage) -> float:
        """How good `net` is on `part`: mAP, a share. The one definition that validation, trials and tuning have."""
        ...

    def measure(
        self,
        networks: Sequence[EvaluatedNetwork],
        data: Any,
        images: Any,
        evaluation: Any,
        stage: Stage,
        **further: Any,
    ) -> dict[str, Any]:
        """Measures networks on the test part: writes `metrics.json` into the stage's folder, and beside it files and
        pictures into `FOLDERS`, as far as it has such. `further` goes into `metrics.json` as it is, which is
        returned."""
        ...

    def example(self, recipe: TaskRecipe, num_ids: int) -> Any:
        """Two images as a batch on torch's default device, for rehearsals, costs and exports: nothing is read."""
        ...

    def deployed(self, net: nn.Module) -> nn.Module:
        """A copy of what of `net` runs on a camera: what is counted, timed and exported."""
        ...

    def held_out(self, source: Source, share: float, seed: int) -> Source:
        """The training part of `source` alone, with a `share` of it to measure on and the rest to train on."""
        ...

    def small(self, recipe: R) -> R:
        """The recipe on synthetic data at a toy's size."""
        ...


def image_size(task: Task, recipe: TaskRecipe) -> tuple[int, int]:
    """Height and width of the images that a network of the recipe takes, in pixels."""
    with torch.device("meta"):
        height, width = task.example(recipe, 1).images.shape[2:]
    return height, width
