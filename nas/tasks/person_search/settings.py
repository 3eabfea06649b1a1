"""How person search is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.ranges import Count, CountOrZero, PositiveShare, Ranged, ShareBelowOne


@dataclass(frozen=True, kw_only=True)
class SearchEvaluation(Ranged):
    """How person search is measured."""

    same_camera: Literal["keep", "remove"] = "keep"
    """Whether frames of the query's own camera are searched; the protocols of CUHK-SYSU and PRW keep them."""
    min_score: ShareBelowOne = 0.5
    """The least probability of a person with which a box counts."""
    min_iou: PositiveShare = 0.5
    """The least overlap with a true box with which a box counts as detected."""
    batch_size: Count = 1
    """Frames in a forward pass; frames of one shape share it."""
    num_strips: CountOrZero = 10
    """Queries drawn with the frames that were found."""
    num_sheets: CountOrZero = 12
    """Frames drawn with what was detected in them, from the worst to the best."""
