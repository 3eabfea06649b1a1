"""How person search is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SearchEvaluation:
    """How person search is measured."""

    same_camera: Literal["keep", "remove"] = "keep"
    """Whether frames of the query's own camera are searched; the protocols of CUHK-SYSU and PRW keep them."""
    min_score: float = 0.5
    """The least probability of a person with which a box counts."""
    min_iou: float = 0.5
    """The least overlap with a true box with which a box counts as detected."""
    batch_size: int = 1
    """Frames in a forward pass; frames of one shape share it."""
    num_strips: int = 10
    """Queries drawn with the frames that were found."""
    num_sheets: int = 12
    """Frames drawn with what was detected in them, from the worst to the best."""

    def __post_init__(self) -> None:
        if not (0 <= self.min_score < 1 and 0 < self.min_iou <= 1):
            raise ValueError(
                f"min_score must be in [0, 1) and min_iou in (0, 1], not {self.min_score} and {self.min_iou}"
            )
        if self.batch_size < 1 or min(self.num_strips, self.num_sheets) < 0:
            raise ValueError(
                "an evaluation needs batch_size >= 1, num_strips >= 0 and num_sheets >= 0, not "
                f"{self.batch_size}, {self.num_strips} and {self.num_sheets}"
            )
