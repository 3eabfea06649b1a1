"""Boxes as annotation files list them: x, y, width, height, and an identity."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nas.data.checks import listing
from nas.data.scenes import NO_IDENTITY

FLAT = "boxes without width or height are left out"
"""The remark on boxes that are none."""
LARGEST = 2**53
"""From here on a number that is read as float64 may be another one."""


class Frame(NamedTuple):
    """The corners float64 [N, 4] and the identities int64 [N] of a frame, and the boxes that are none, in words."""

    boxes: np.ndarray
    ids: np.ndarray
    flat: tuple[str, ...]


def corners(boxes: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 as float64 [N, 4] of x, y, width, height in any type of number: uint16 would overflow."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def frame_of(place: object, ids: Sequence | np.ndarray, boxes: Sequence | np.ndarray) -> Frame:
    """A frame whose boxes [N, 4] are given as x, y, width, height; `place` names it in errors.

    Identities below 0 become -1. Boxes with a width or height of 0 or less are left out. Raises ValueError for numbers
    that are not finite, or that are not whole where they are identities.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    numbers = np.asarray(ids, dtype=np.float64)
    right = np.isfinite(boxes).all(axis=1) & (np.abs(numbers) < LARGEST) & (numbers == np.floor(numbers))
    if not right.all():
        wrong = [[one, *box] for one, box in zip(numbers[~right].tolist(), boxes[~right].tolist(), strict=True)]
        raise ValueError(
            f"{place}: identities must be whole numbers below 2**53 and boxes finite ones; got {listing(wrong)}"
        )
    real = (boxes[:, 2:] > 0).all(axis=1)
    flat = tuple(f"{place}: {box}" for box in boxes[~real].tolist())
    return Frame(corners(boxes[real]), np.maximum(numbers[real].astype(np.int64), NO_IDENTITY), flat)
