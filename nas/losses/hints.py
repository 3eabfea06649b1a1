"""What a teacher's maps add to a loss: hints and attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.losses.base import Loss, Losses, TaughtLoss
from nas.losses.kd import KDLoss
from search_spaces.ranges import Name, NonNegative
from students.hinted import answering
from students.reid import check_names
from teachers.signals import attention_transfer, hint


@dataclass(frozen=True, kw_only=True)
class HintLoss(TaughtLoss):
    """`each` + `hint_weight * L_hint + attention_weight * L_at`: what a teacher's maps add, each summed over maps."""

    each: Loss = field(default_factory=KDLoss)
    hints: tuple[Name, ...] = ()
    """Maps of the teacher that a `Hinted` student answers through its adapters (FitNets); none: no hints."""
    attention: tuple[tuple[Name, Name], ...] = ()
    """Pairs of maps, the student's and the teacher's, that should look at the same places (attention transfer); none:
    no attention."""
    hint_weight: NonNegative = 1.0
    """Weight of the hints' loss."""
    attention_weight: NonNegative = 1.0
    """Weight of the attention loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._own_maps:
            raise ValueError(
                "HintLoss needs hints (maps of the teacher) or attention (pairs of maps, student and "
                f"teacher); without them take its each, {type(self.each).__name__}, alone"
            )

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.each.teacher_maps, *self._own_maps]))

    @property
    def _own_maps(self) -> list[str]:
        return [*self.hints, *(teacher for _, teacher in self.attention)]

    @property
    def weights(self) -> Mapping[str, float]:
        return {"hint": self.hint_weight, "attention": self.attention_weight}

    def parts(self, out: Any, teacher: Any) -> Losses:
        """`hint` and `attention`. Raises ValueError naming maps that do not exist."""
        own, told = out.maps, teacher.maps
        parts: dict[str, Any] = {}
        check_names(
            "student (hint.* has a Hinted one alone)",
            [*map(answering, self.hints), *(student for student, _ in self.attention)],
            own,
        )
        check_names("teacher", self._own_maps, told)
        if self.hints:
            parts["hint"] = sum(hint(own[answering(name)], told[name]) for name in self.hints)
        if self.attention:
            parts["attention"] = sum(attention_transfer(own[student], told[name]) for student, name in self.attention)
        return parts
