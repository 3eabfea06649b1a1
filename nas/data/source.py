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
    """Where a data set of crops lies, and what to do with its flaws."""

    task: ClassVar[Any] = "reid"
    subject: ClassVar[Literal["people", "vehicles"]] = "people"
    PUBLISHED: ClassVar[dict[str, int]] = {}
    """What `published` gives, for a data set without variants."""

    single_images: Literal["error", "drop", "keep"] = "error"
    """What to do with a training identity that has only one image, which cannot form a pair: raise an error, drop the
    identity, or keep it and repeat its image."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do with image files that cannot be decoded: raise an error that names them all before training, or skip
    them with a warning, for which every image is decoded once when the data set is loaded."""
    strict: bool = False
    """Whether counts of images or identities that differ from the published ones are an error, not a warning."""
    label_noise: ShareBelowOne = 0.0
    """Share of the training labels that are redrawn in each epoch (KSL, Figure 6); 0: none."""

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
