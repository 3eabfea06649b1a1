"""How person search is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nas.tasks.base import ONLY_SHOWN
from search_spaces.ranges import Count, CountOrZero, PositiveShare, Ranged, RuntimeName, ShareBelowOne


@dataclass(frozen=True, kw_only=True)
class SearchEvaluation(Ranged):
    """How person search is measured."""

    same_camera: Literal["keep", "remove"] = "keep"
    """Whether frames of the query's own camera are searched; the protocols of CUHK-SYSU and PRW keep them."""
    min_score: ShareBelowOne = 0.5
    """Least probability of a person with which a box counts."""
    min_iou: PositiveShare = 0.5
    """Least overlap (IoU) with a true box with which a box counts as detected."""
    runtime: RuntimeName = "onnxruntime"
    """What the milliseconds are of: ONNX Runtime on the CPU, or with CUDA or TensorRT; OpenVINO; or PyTorch on the
    run's device, compiled or not."""
    batch_size: Count = field(default=1, metadata=ONLY_SHOWN)
    """Frames in a forward pass; frames of one shape share it."""
    num_strips: CountOrZero = field(default=10, metadata=ONLY_SHOWN)
    """Queries drawn with the frames that were found; 0: none."""
    num_thumbnails: CountOrZero = field(default=20, metadata=ONLY_SHOWN)
    """Queries whose frames are part of the report, with those that were found for them; 0: none."""
    num_sheets: CountOrZero = field(default=12, metadata=ONLY_SHOWN)
    """Frames drawn with what was detected in them, from the worst to the best; 0: none."""
