"""The persons of frames as crops, for networks that know nothing of scenes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from nas.data.base import Split
from nas.data.images import ImageSource, Taken
from nas.data.scene_cache import clip, have_area
from nas.data.scenes import Boxes, SceneSplit

NUM_FRAMES = 16
"""Frames that stay decoded: neighbouring crops are of the same ones."""


class Crops:
    """The boxes of a split's frames, one after the other, as images: as far as they are in their frames."""

    def __init__(self, images: ImageSource, boxes: Boxes) -> None:
        self.images, self.boxes = images, boxes
        self._frame = lru_cache(NUM_FRAMES)(images.read)

    def __len__(self) -> int:
        return len(self.boxes.frames)

    def read(self, i: int) -> Image.Image:
        frame = self._frame(int(self.boxes.frames[i]))
        box = clip(self.boxes.corners[i], np.array(frame.size))
        if not have_area(box[None])[0]:
            raise ValueError(f"{self.name(i)} is outside its frame of {frame.width}x{frame.height} pixels")
        low, high = np.floor(box[:2]), np.ceil(box[2:])
        return frame.crop((*low.astype(int).tolist(), *high.astype(int).tolist()))

    def name(self, i: int) -> str:
        return f"{self.images.name(int(self.boxes.frames[i]))}: {self.boxes.corners[i].tolist()}"


def crops_of(split: SceneSplit) -> Split:
    """The persons of `split` who have an identity, as crops."""
    boxes = split.all_boxes
    known = np.flatnonzero(boxes.ids >= 0)
    return Split(images=Taken(Crops(split.images, boxes), known), ids=boxes.ids[known])
