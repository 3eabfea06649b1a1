"""What a network for person search says as a teacher: a detector, an identity table, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from students.identity_table import IdentityTable
from students.rpn import RPN
from students.scenes import DETECTOR, TABLE, Regions, Scenes
from students.space import StudentModule


class DetectorSays(NamedTuple):
    """What a detector says of scenes as a teacher."""

    objectness: Tensor
    """`[B, A]`."""
    deltas: Tensor
    """`[B, A, 4]`."""
    anchors: Tensor
    """`[A, 4]`."""
    maps: Mapping[str, Tensor]
    """`[B, C, H, W]` by name: those that were asked for; and an identity table `[P, D]` as `TABLE`, if it was."""
    base: Tensor
    """`[B, C, H, W]`: the map that regions are cut from."""
    head: Callable[[Tensor, Sequence[Tensor]], Regions]

    @torch.no_grad()
    def regions(self, boxes: Sequence[Tensor]) -> Regions:
        """What it says of each image's `boxes`, such as the student's: constants."""
        return self.head(self.base, boxes)


class TableSays(NamedTuple):
    """What is heard of a teacher of identities: no forward pass is needed for it."""

    maps: Mapping[str, Tensor]
    """Its identity table `[P, D]`, as `TABLE`."""


class Detector(Protocol):
    """A network that finds persons in scenes."""

    rpn: RPN

    def say(self, scenes: Scenes, maps: Sequence[str]) -> DetectorSays:
        """What it says of scenes, with its `maps` of these names. Raises ValueError when it lacks one."""
        ...


class SearchTeacher(StudentModule):
    """A network that can teach person search."""

    @property
    def detector(self) -> Detector | None:
        """The detector that it teaches with; None: it has none."""
        return None

    @property
    def taught_table(self) -> IdentityTable | None:
        """The table that it teaches; None: it has none."""
        return None

    def teach(self, scenes: Scenes, maps: Sequence[str]) -> DetectorSays | TableSays:
        """What it says of scenes, with the `maps` that are asked for, of which `TABLE` is one. Without `DETECTOR` and
        maps of a network there is no forward pass. Raises ValueError when it lacks what is asked for."""
        told = {TABLE: self.table_to_teach().complete()} if TABLE in maps else {}
        if not set(maps) - {TABLE}:
            return TableSays(told)
        said = self.detector_to_teach().say(scenes, [name for name in maps if name not in (TABLE, DETECTOR)])
        return said._replace(maps={**told, **said.maps})

    def table_to_teach(self) -> IdentityTable:
        """Its table, of which not all rows may be filled. Raises ValueError when it has none."""
        if self.taught_table is None:
            raise ValueError("a teacher of identities must have a table of them, and this is a detector alone")
        return self.taught_table

    def detector_to_teach(self) -> Detector:
        """Its detector. Raises ValueError when it has none."""
        if self.detector is None:
            raise ValueError("a teacher of boxes must be a detector, and this is an identity table alone")
        return self.detector
