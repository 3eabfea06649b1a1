"""The frames of a split at their scaled sizes: decoded once into memory as far as they fit there, the others when
needed."""

import copy
import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.cache import SHARE
from nas.data.checks import Flaws, listing
from nas.data.images import NUM_THREADS
from nas.data.scenes import SceneSplit
from nas.system.config import WITHOUT_EFFECT
from nas.system.memory import spare_bytes
from search_spaces.ranges import NonNegative, Processes, Range, Ranged

logger = logging.getLogger(__name__)

Side = Annotated[int, Range(least=32, most=8_192)]
"""Of a frame, in pixels; the least is the largest stride of the backbones."""


@dataclass(frozen=True, kw_only=True)
class SceneSize(Ranged):
    """The size that frames are resized to, the memory for decoded frames, and the threads that decode them."""

    short_side: Side = 600
    """Shorter side that a frame is resized to, in pixels; its aspect ratio is kept."""
    long_side: Side = 1000
    """Most pixels on a frame's longer side; a frame that would have more is resized to this instead."""
    max_gib: NonNegative = field(default=8.0, metadata=WITHOUT_EFFECT)
    """Memory for decoded frames, in GiB; 0: every frame is decoded anew each time."""
    workers: Processes = field(default=NUM_THREADS, metadata=WITHOUT_EFFECT)
    """Threads that decode frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.short_side > self.long_side:
            raise self.out_of_range("short_side", f"be at most long_side ({self.long_side})")

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a frame of this size is brought to, each at least 1."""
        short, long = sorted((width, height))
        scale = min(self.short_side / short, self.long_side / long)
        return max(1, round(width * scale)), max(1, round(height * scale))


class Frame(NamedTuple):
    """A frame that was decoded: its pixels uint8 [3, H, W] at the scaled size, and its own size (width, height)."""

    pixels: np.ndarray
    size: tuple[int, int]


class SceneCache:
    """The frames of a split, decoded and resized (bilinear, antialiased) to uint8 [3, H, W], as `size` says.

    As many as fit into `size.max_gib` and into three quarters of the free memory are kept there, the first ones. If
    these are not all, a line of log says so, and `get` decodes the others each time, with the same result. Every frame
    is decoded once here, so that unreadable ones are an error (ValueError, naming them) before training.

    split: the frames with their boxes clipped to them, in their own pixels; boxes that have nothing in their frame are
        left out. One warning each counts both.
    sizes: width and height of each frame as it is stored, int64 [F, 2].
    scaled: likewise as `get` gives it.

    num_processes: how many share the machine's memory. progress: called with (frames done, frames in all).
    """

    def __init__(
        self,
        split: SceneSplit,
        size: SceneSize,
        *,
        num_processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.size = size
        self._images = split.images
        self._kept: list[Tensor | None] = []
        self.sizes = self._fill(len(split), num_processes, progress)
        self.scaled = np.array([size.scaled(*one) for one in self.sizes.tolist()], dtype=np.int64).reshape(-1, 2)
        self.split = clipped(split, self.sizes)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, i: int) -> Tensor:
        """Frame `i`, uint8 [3, H, W], on the CPU."""
        kept = self._kept[i]
        return torch.from_numpy(self._decoded(self._images.read(i)).pixels) if kept is None else kept

    def boxes(self, i: int) -> np.ndarray:
        """The boxes of frame `i` in pixels of what `get` gives, float64 [N, 4]: by the exact ratio of each axis."""
        return self.split.boxes[i] * self.ratio(i)

    def ratio(self, i: int) -> np.ndarray:
        """How many pixels of what `get` gives one of the stored frame is, for x1, y1, x2, y2: float64 [4]."""
        return np.tile(self.scaled[i] / self.sizes[i], 2)

    def take(self, indices: np.ndarray) -> "SceneCache":
        """The frames at `indices`, in that order; those in memory are shared."""
        indices = np.arange(len(self))[indices]
        taken = copy.copy(self)
        taken.split = self.split.take(indices)
        taken._images = taken.split.images
        taken._kept = [self._kept[i] for i in indices]
        taken.sizes, taken.scaled = self.sizes[indices], self.scaled[indices]
        return taken

    def _fill(self, num_frames: int, num_processes: int, progress: Callable[[int, int], None] | None) -> np.ndarray:
        """Decodes every frame and keeps the first ones, as many as fit. The sizes of all, int64 [F, 2]."""
        bound, free = self.size.max_gib * 2**30, SHARE * spare_bytes() / num_processes
        room, flaws = min(bound, free), Flaws()

        def decode(i: int) -> Frame | None:
            image = flaws.read(self._images, i)
            return None if image is None else self._decoded(image)

        sizes, total = np.ones((num_frames, 2), dtype=np.int64), 0
        with ThreadPoolExecutor(self.size.workers) as pool:
            for i, frame in enumerate(pool.map(decode, range(num_frames))):
                if frame is not None:
                    sizes[i] = frame.size
                    total += frame.pixels.nbytes
                self._kept.append(torch.from_numpy(frame.pixels) if frame is not None and total <= room else None)
                if progress:
                    progress(i + 1, num_frames)
        flaws.say("Replace them, or take them out of the lists of the data set", stacklevel=4)
        self._say_how_many(total, bound, free)
        return sizes

    def _say_how_many(self, total: int, bound: float, free: float) -> None:
        """One line where not all frames stay in memory, unless none were wanted."""
        num_kept = sum(kept is not None for kept in self._kept)
        if num_kept < len(self._kept) and bound > 0:
            limit = "--images.max-gib" if bound < free else "three quarters of the free memory"
            logger.warning(
                "%d of %d frames stay in memory, the others are decoded whenever they are drawn: all need %.1f GiB, "
                "%s allows %.1f GiB", num_kept, len(self._kept), total / 2**30, limit, min(bound, free) / 2**30,
            )  # fmt: skip

    def _decoded(self, image: Image.Image) -> Frame:
        size, wanted = image.size, self.size.scaled(*image.size)
        if size != wanted:
            image = image.resize(wanted, Image.Resampling.BILINEAR)
        return Frame(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)), size)


def clip(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`boxes` x1, y1, x2, y2 [N, 4] as far as they are in frames of these widths and heights, [2] or [N, 2]."""
    return np.clip(boxes, 0, np.concatenate([sizes, sizes], axis=-1))


def astray(boxes: np.ndarray, size: np.ndarray) -> tuple[list[list[float]], list[list[float]]]:
    """Of the boxes [N, 4] those of which nothing is in a frame of this width and height, and those that reach out."""
    inside = clip(boxes, size)
    is_in, reaches = have_area(inside), np.any(boxes != inside, axis=1)
    return boxes[reaches & ~is_in].tolist(), boxes[reaches & is_in].tolist()


def have_area(boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes [N, 4] have a width and a height: bool [N]."""
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=1)


def clipped(split: SceneSplit, sizes: np.ndarray) -> SceneSplit:
    """`split` with its boxes clipped to frames of these widths and heights [F, 2], without those that are outside.

    One warning each counts and names them.
    """
    boxes = [clip(of_frame, size) for of_frame, size in zip(split.boxes, sizes, strict=True)]
    inside = [have_area(of_frame) for of_frame in boxes]
    out: list[str] = []
    outside: list[str] = []
    for i, of_frame in enumerate(split.boxes):
        for cases, found in zip((outside, out), astray(of_frame, sizes[i]), strict=True):
            cases += [f"{split.images.name(i)}: {box}" for box in found]
    if outside:
        warnings.warn(f"{len(outside):,} boxes outside their frames are left out: {listing(outside)}", stacklevel=3)
    if out:
        shown = listing(out, num_shown=3)
        warnings.warn(f"{len(out):,} boxes that reach out of their frames are clipped: {shown}", stacklevel=3)
    return replace(
        split,
        boxes=tuple(of_frame[kept] for of_frame, kept in zip(boxes, inside, strict=True)),
        ids=tuple(ids[kept] for ids, kept in zip(split.ids, inside, strict=True)),
    )
