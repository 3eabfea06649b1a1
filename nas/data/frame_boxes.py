"""Boxes around persons in the frames of a video or a folder, as a user lists them in a CSV file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nas.data.checks import listing
from nas.data.frames import Frames
from nas.data.scene_cache import clip, have_area
from nas.data.sets.boxes import corners
from nas.data.sets.scenes_csv import BOX, pixels
from nas.data.sets.table_file import rows_of

COLUMNS = ("frame", *BOX, "track")


@dataclass(frozen=True, kw_only=True)
class FrameBox:
    """A person in a frame."""

    frame: str
    box: tuple[float, ...]
    """x, y, width, height in the frame's pixels, as the user has them."""
    track: str = ""
    """Whose boxes belong together; empty: none."""

    def crop(self, frame: Image.Image) -> Image.Image:
        """The box as far as it is in the frame, out to whole pixels."""
        box = clip(corners(np.array(self.box))[0], np.array(frame.size))
        low, high = np.floor(box[:2]), np.ceil(box[2:])
        return frame.crop((*low.astype(int).tolist(), *high.astype(int).tolist()))


def read_boxes(file: Path, frames: Frames) -> tuple[FrameBox, ...]:
    """The boxes in a CSV file with the columns `frame,x,y,w,h` and, where there are tracks, `track`, in any order.

    Raises ValueError naming the lines with unknown frames, and with boxes of which nothing is in their frame; standard
    error says how many reach out of theirs, of which the rest is taken.
    """
    lines, boxes = [], []
    for line, row in rows_of(file, COLUMNS, optional=("track",)):
        try:
            name = frames.named(row["frame"])
        except ValueError as error:
            raise ValueError(f"{file}, line {line}: {error}") from None
        boxes.append(FrameBox(frame=name, box=pixels(file, line, row), track=row.get("track", "")))
        lines.append(line)
    _check_inside(file, lines, boxes, frames)
    return tuple(boxes)


def _check_inside(file: Path, lines: Sequence[int], boxes: Sequence[FrameBox], frames: Frames) -> None:
    sizes = {name: frames.size(name) for name in {box.frame for box in boxes}}
    whole = corners(np.array([box.box for box in boxes]))
    inside = clip(whole, np.array([sizes[box.frame] for box in boxes]))
    out = ~have_area(inside)
    if out.any():
        wrong = [f"line {lines[i]} ({_described(boxes[i], sizes)})" for i in np.flatnonzero(out).tolist()]
        raise ValueError(f"{file}: every box must be in its frame, with a width and a height; not so: {listing(wrong)}")
    if reaching := [f"line {lines[i]}" for i in np.flatnonzero((whole != inside).any(axis=1)).tolist()]:
        shown = listing(reaching, num_shown=3)
        print(f"nas: {file}: boxes that reach out of their frames are clipped: {shown}", file=sys.stderr)


def _described(box: FrameBox, sizes: dict[str, tuple[int, int]]) -> str:
    width, height = sizes[box.frame]
    return f"{', '.join(f'{value:g}' for value in box.box)} in frame {box.frame} of {width}x{height} pixels"
