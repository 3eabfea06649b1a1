"""Detection as person search measures it: average precision and recall of boxes at one overlap."""

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """How well boxes were found. All values are in [0, 1].

    `ap`: area under precision over recall, 0 beyond the recall that is reached. `right [N]`: which detections are a
    true box; those below the score that counts are not.
    """

    ap: float
    recall: float
    right: np.ndarray


def evaluate_detection(
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    true_frames: np.ndarray,
    true_boxes: np.ndarray,
    *,
    min_iou: float = 0.5,
    min_score: float = 0.5,
) -> Detection:
    """Compares detections (`frames [N]`, `boxes [N, 4]` as corners, `scores [N]`) with the true boxes `[M]` of all
    frames.

    Of those that score `min_score`, one is right if it and a true box overlap by `min_iou` and each is the other's best
    (of equals the first). Equal scores are one step of the curve, as in scikit-learn. This is the evaluation of OIM's
    public code, where average precision times recall is what is printed as the detector's mAP; frames without a person
    are measured here, too. Raises ValueError when there is no true box, and for what does not fit together.
    """
    check_boxes("detections", frames, boxes, scores)
    check_boxes("true boxes", true_frames, true_boxes)
    if not len(true_boxes):
        raise ValueError("there must be a true box to be found, and no frame has one")
    right, counted = np.zeros(len(boxes), dtype=bool), scores >= min_score
    shown, present = by_frame(np.where(counted, frames, -1)), by_frame(true_frames)
    for frame in shown.keys() & present.keys():
        overlap = box_iou(boxes[shown[frame]], true_boxes[present[frame]])
        best = overlap.argmax(axis=1)
        mutual = overlap.argmax(axis=0)[best] == np.arange(len(best))
        right[shown[frame]] = mutual & (overlap.max(axis=1) >= min_iou)
    return Detection(
        ap=_average_precision(right[counted], scores[counted], len(true_boxes)),
        recall=float(right.sum() / len(true_boxes)),
        right=right,
    )


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union `[N, M]` of boxes `[N, 4]` and `[M, 4]`, (left, top, right, bottom) each, in float64."""
    return pair_iou(boxes[:, None], others)


def pair_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The same of each of `boxes [..., 4]` and the one of `others` at its place, whose shapes are broadcast."""
    boxes, others = boxes.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    union = _area(boxes) + _area(others) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def check_boxes(what: str, frames: np.ndarray, boxes: np.ndarray, *columns: Sized) -> None:
    """Raises ValueError unless `boxes` are `[N, 4]`, finite, and every box has its frame, a number of 0 or more, and
    its row in the other `columns`."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{what} must be boxes [N, 4], got shape {list(boxes.shape)}")
    if lengths := [len(column) for column in (frames, *columns) if len(column) != len(boxes)]:
        raise ValueError(
            f"{what} need a frame, and a row of all else, for each of {len(boxes)} boxes, got {lengths[0]}"
        )
    if not np.isfinite(boxes).all():
        raise ValueError(f"{what} must be finite, got {boxes[~np.isfinite(boxes).all(axis=1)][0].tolist()}")
    if len(frames) and frames.min() < 0:
        raise ValueError(f"{what} must be in frames from 0 on, got {frames.min()}")


def by_frame(frames: np.ndarray) -> dict[int, np.ndarray]:
    """The places of each frame's boxes, in order; those of frame -1 are in none."""
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    return (
        {
            int(number): places
            for number, places in zip(numbers, np.split(order, starts[1:]), strict=True)
            if number >= 0
        }
        if len(frames)
        else {}
    )


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1)


def _average_precision(right: np.ndarray, scores: np.ndarray, num_boxes: int) -> float:
    """Sum over the distinct scores, best first, of precision there times what it adds to recall."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    found = right[order].cumsum()[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / num_boxes)
