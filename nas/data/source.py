"""The `data` field of a recipe: where a data set lies, and what to do with its flaws."""

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Literal

from nas.data.base import ReIDData
from nas.data.checks import (
    LEFT_OUT,
    check_apart,
    check_counts,
    check_known_cameras,
    checked_singles,
    warn_of,
    without_unreadable,
)
from search_spaces.ranges import Ranged, ShareBelowOne


class Source(Ranged, ABC):
    """The `data` field of a recipe: a frozen dataclass that says where a data set lies."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    task: ClassVar[Any]
    """What the data set is for: the name of a built-in task (`nas.tasks`), or a `Task` of its own."""

    @abstractmethod
    def load(self) -> Any:
        """The data set, fit for training: its `name`, its training `identities`, and what its task needs."""


@dataclass(frozen=True, kw_only=True)
class DataSource(Source):
    """Where a data set of crops lies, and what to do with its flaws.

    single_images: what happens with a training identity that has one image only, of which no pair can be formed:
        an error, leave the identity out, or keep it (the sampler then repeats the image).
    unreadable: what happens with an image file that cannot be decoded. By default `load` opens no image, and filling
        the image cache, which is before training, raises an error naming all of them. With "skip", `load` itself
        decodes every image once and leaves these out with a warning.
    strict: what happens when the numbers of images and identities are not the published ones: a warning with both
        numbers, or an error.
    label_noise: share of the training labels, in [0, 1), that are redrawn in each epoch (KSL, Figure 6).
    """

    task: ClassVar[Any] = "reid"
    subject: ClassVar[Literal["people", "vehicles"]] = "people"
    PUBLISHED: ClassVar[dict[str, int]] = {}
    """What `published` gives, for a data set without variants."""

    single_images: Literal["error", "drop", "keep"] = "error"
    unreadable: Literal["error", "skip"] = "error"
    strict: bool = False
    label_noise: ShareBelowOne = 0.0

    @abstractmethod
    def listed(self) -> ReIDData:
        """The data set as it lies on disk, no image opened yet. Raises ValueError when the layout is wrong."""

    def published(self) -> dict[str, int]:
        """The published numbers to hold against `ReIDData.counts`, by the same names; empty where there are none."""
        return self.PUBLISHED

    def partitioned(self, data: ReIDData) -> ReIDData:
        """`data` with the partitions of a protocol that repeats itself, drawn from all test images that `data` has."""
        return data

    def load(self) -> ReIDData:
        """The data set, fit for training: see the fields. Raises ValueError saying what is wrong and how to fix it."""
        data = self.listed()
        warn_of(data.name, {LEFT_OUT: data.left_out})
        check_counts(data, self.published(), self.strict)
        if self.unreadable == "skip":
            data = self.partitioned(without_unreadable(data))
        data = replace(data, train=data.train.take(data.train.ids >= 0), label_noise=self.label_noise)
        check_apart(data)
        check_known_cameras(data)
        data = checked_singles(data, self.single_images)
        for name, split in data.splits.items():
            if len(split) == 0:
                raise ValueError(f"{data.name}: the {name} split needs at least one image, and has none")
        return data
