"""Students that answer a teacher's maps as well as its logits, through adapters that are gone at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.pick import Pick
from search_spaces.ranges import Channels, Name, Ranged
from search_spaces.relaxed import runnable
from students.space import StudentModule, StudentSpace


class Adapter(nn.Conv2d):
    """The 1x1 convolution between a student's map and a hint (FitNets' regressor); it is trained with the student.

    It starts with weights drawn from N(0, 1 / student_channels), which keep the mean square of a map with independent
    channels, and a bias of 0.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels, 1)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.in_channels**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


@dataclass(frozen=True, kw_only=True)
class Hint(Ranged):
    """Which map of the student answers which map of the teacher, and how many channels that one has."""

    student: Name
    """Name of the student's map."""
    teacher: Name
    """Name of the teacher's map that the student's answers."""
    channels: Channels
    """Channels of the teacher's map."""


def answering(teacher_map: str) -> str:
    """The name of the student's map behind the adapter that answers `teacher_map`."""
    return f"hint.{teacher_map}"


class HintedNet(StudentModule):
    """A network that also tells the maps behind its adapters, under the names `answering` gives them."""

    def __init__(self, main: StudentModule, hints: Sequence[Hint], adapters: Sequence[Adapter]) -> None:
        super().__init__()
        self.main = main
        self.hints = tuple(hints)
        self.adapters = nn.ModuleList(adapters)
        self.out_channels = cast(int, main.out_channels)

    def teach(self, images: Any, maps: Sequence[str]) -> Any:
        """What its network says as a teacher."""
        return cast(Any, self.main).teach(images, maps)

    def forward(self, x: Any) -> Any:
        """What its network says, such as a `ReIDOutput` or a `SearchOutput`, with more `maps`."""
        out = self.main(x)
        adapted = {
            answering(hint.teacher): adapter(out.maps[hint.student])
            for hint, adapter in zip(self.hints, self.adapters, strict=True)
        }
        return out._replace(maps={**out.maps, **adapted})

    def inference(self) -> StudentModule:
        """What is measured, saved and exported: the network without its adapters."""
        return self.main.inference()

    def repeat_weights(self) -> None:
        self.main.repeat_weights()


@dataclass(frozen=True, kw_only=True)
class Hinted(StudentSpace):
    """Any network that tells its maps, with an adapter for each hint of its teacher; what is open is the network's.

    Trained by `HintLoss`.
    """

    main: StudentSpace
    hints: tuple[Hint, ...]

    @property
    def title(self) -> str:
        return f"{self.main.title} with hints"

    @property
    def task(self) -> str:
        return self.main.task

    @property
    def has_branches(self) -> bool:
        return self.main.has_branches

    @property
    def needs_query(self) -> bool:
        return self.main.needs_query

    def with_ids(self, num_ids: int) -> Hinted:
        return replace(self, main=self.main.with_ids(num_ids))

    def starting_from(self, pretrained: str) -> Hinted:
        return replace(self, main=self.main.starting_from(pretrained))

    def small(self) -> Hinted:
        return replace(self, main=self.main.small())

    def inference(self, architecture: Architecture | None = None) -> tuple[StudentSpace, Architecture | None]:
        return self.main.inference(architecture)

    def build(self, pick: Pick, c_in: int = 3) -> HintedNet:
        main = cast(StudentModule, self.main.build(pick, c_in))
        channels = self._channels(pick, c_in)
        if unknown := [hint.student for hint in self.hints if hint.student not in channels]:
            raise ValueError(
                f"a hint must be answered by a map of the student; {self.main.title} has no "
                f"{', '.join(unknown)}, it has {', '.join(channels)}"
            )
        return HintedNet(main, self.hints, [Adapter(channels[hint.student], hint.channels) for hint in self.hints])

    def _channels(self, pick: Pick, c_in: int) -> dict[str, int]:
        """Those of the network's maps. All candidates of a supernet have the same, so any sample shows them."""
        with torch.device("meta"):
            maps = self.main.build(runnable(pick), c_in).eval()(torch.empty(1, c_in, 64, 64)).maps
        return {name: one.shape[1] for name, one in maps.items()}
