"""From the frames of a split to batches on a device: drawn by seed, mirrored, padded, prepared ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.augment import SceneAugment, mirrored, normalise
from nas.data.batches import prefetched, seed_of, this_device
from nas.data.sampling import bucketed, query_pairs
from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scenes import SceneSplit, labels_of
from nas.system.launch import num_on_node
from nas.tasks.decoding import decoding
from students.scenes import TABLE, QueryFrames, Scenes

Sides = TypeVar("Sides", int, np.ndarray, Tensor)

MULTIPLE = 32
"""Of which the sides of a batch are multiples: the largest stride of the backbones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneBatch:
    """Scenes, the labels of all their boxes, and what a teacher said about them, once asked."""

    images: Scenes
    labels: Tensor
    teacher: Any = None

    def _replace(self, *, teacher: Any) -> SceneBatch:
        """The same with what a teacher said: if that is its identity table, the student is given it for good."""
        images = self.images._replace(table=teacher.maps.get(TABLE))
        return replace(self, images=images, teacher=teacher)


def cached(split: SceneSplit, size: SceneSize) -> SceneCache:
    """The split's frames at their size, in memory as far as they fit; a bar on a terminal while they are decoded.

    Raises ValueError when every box is outside its frame.
    """
    with decoding("frames") as progress:
        cache = SceneCache(split, size, num_processes=num_on_node(), progress=progress)
    if not len(cache.split.all_boxes.ids):
        raise ValueError(
            f"none of the {len(split.all_boxes.ids):,} boxes is in its frame, the first one, "
            f"{split.all_boxes.corners[0].tolist()}, not in {split.images.name(int(split.all_boxes.frames[0]))}: boxes "
            "are in pixels of the frames as they are stored"
        )
    return cache


def padded(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames `[B, 3, H, W]` with 0 at their right and lower side, up to height and width of `size`."""
    height, width = frames.shape[2:]
    return F.pad(frames, (0, size[1] - width, 0, size[0] - height))


def padded_to(sides: Sides) -> Sides:
    """The least multiples of `MULTIPLE` that are no less than the `sides`."""
    return -(-sides // MULTIPLE) * MULTIPLE


def usual_size(cache: SceneCache) -> tuple[int, int]:
    """Height and width of the most usual frame, padded."""
    shapes, counts = np.unique(cache.scaled, axis=0, return_counts=True)
    width, height = padded_to(shapes[counts.argmax()]).tolist()
    return height, width


class SceneBatches:
    """The batches of an epoch. Each is a pure function of (seed, epoch, step), so a run can go on at any step.

    identities: those that the labels count, ascending: all that the boxes of `cache` have. indices: the frames to draw
        from (default: all), such as one half.
    batch_size: frames of a batch; they have the same shape as far as possible (see `bucketed`). The rest of an epoch
        that fills no batch is left out, another one each time.
    num_prefetch: how many batches a thread prepares ahead; 0 prepares each when it is asked for.
    pairs_per_id: of each identity so many pairs of frames that it is in are drawn, instead of all frames: a batch has
        `batch_size` pairs, and beside each frame the other one as its query. None: there are no queries.
    rank, world_size: of several processes, each takes every `world_size`-th batch, and all take equally many.
    """

    def __init__(
        self,
        cache: SceneCache,
        identities: Sequence[int],
        batch_size: int,
        augment: SceneAugment,
        seed: int,
        device: torch.device | str = "cpu",
        num_prefetch: int = 2,
        *,
        indices: np.ndarray | None = None,
        pairs_per_id: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.cache, self.batch_size, self.augment = cache, batch_size, augment
        self.labels = labels_of(cache.split.ids, identities)
        self.seed, self.num_prefetch, self.device = seed, num_prefetch, this_device(device)
        self.indices = np.arange(len(cache)) if indices is None else np.asarray(indices)
        self.pairs_per_id, self.rank, self.world_size = pairs_per_id, rank, world_size
        self._length = len(self._plan(0)) // world_size
        if self._length == 0:
            raise ValueError(f"{world_size} processes need a batch each, but an epoch has fewer; use smaller batches")

    def __len__(self) -> int:
        """Batches of an epoch, for this rank."""
        return self._length

    def __call__(self, epoch: int, start: int = 0) -> Iterator[SceneBatch]:
        """The batches of `epoch` from this rank's step `start` on: their images are `Scenes`, their labels those of all
        boxes, one frame after the other."""
        plan = self._plan(epoch)
        steps = (self.rank + step * self.world_size for step in range(start, len(self)))  # counted over all ranks
        return prefetched(lambda step: self._batch(epoch, step, plan[step]), steps, self.num_prefetch)

    def _plan(self, epoch: int) -> np.ndarray:
        """What all ranks' batches in `epoch` are made of: frames, int64 [num_batches, B], or pairs of them as
        `query_pairs` gives them, [num_batches, B, 3]."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.pairs_per_id is None:
            return self.indices[bucketed(padded_to(self.cache.scaled[self.indices]), self.batch_size, rng)]
        pairs = query_pairs([self.labels[i] for i in self.indices], self.pairs_per_id, rng)
        pairs[:, [0, 2]] = self.indices[pairs[:, [0, 2]]]
        return pairs[bucketed(padded_to(self.cache.scaled[pairs[:, [0, 2]]]), self.batch_size, rng)]

    def _batch(self, epoch: int, step: int, chosen: np.ndarray) -> SceneBatch:
        seed, frames = seed_of(self.seed, epoch, step), chosen if self.pairs_per_id is None else chosen[:, 2]
        generator = torch.Generator().manual_seed(seed)
        scenes = self._scenes(frames, generator)._replace(seed=seed)
        if self.pairs_per_id is not None:
            asked, places = self._scenes(chosen[:, 0], generator), chosen[:, 1].tolist()
            boxes, labels = (
                torch.stack([of_frame[place] for of_frame, place in zip(each, places, strict=True)])
                for each in (asked.boxes, asked.labels)
            )
            scenes = scenes._replace(query=QueryFrames(asked.tensors, boxes, labels))
        return SceneBatch(images=scenes, labels=torch.cat(scenes.labels))

    def _scenes(self, chosen: np.ndarray, generator: torch.Generator) -> Scenes:
        """Some frames, mirrored by chance."""
        flips = torch.rand(len(chosen), generator=generator) < self.augment.flip
        frames, boxes = [], []
        for i, flip in zip(chosen.tolist(), flips.tolist(), strict=True):
            frame, of_frame = self.cache.get(i), self.cache.boxes(i)
            frames.append(frame.flip(2) if flip else frame)
            boxes.append(mirrored(of_frame, frame.shape[2]) if flip else of_frame)
        return scenes_of(frames, boxes, [self.labels[i] for i in chosen], device=self.device)


def scenes_of(
    frames: Sequence[Tensor],
    boxes: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Scenes:
    """A batch on `device` of frames uint8 [3, H, W] on the CPU, with boxes [N, 4] in their pixels and labels [N]."""
    device = torch.device(device)
    sizes = torch.tensor([frame.shape[1:] for frame in frames])
    height, width = padded_to(sizes.amax(dim=0)).tolist()
    padded = torch.zeros(len(frames), 3, height, width, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for target, frame in zip(padded, frames, strict=True):
        target[:, : frame.shape[1], : frame.shape[2]] = frame
    tensors = normalise(padded.to(device, non_blocking=True))
    for image, (h, w) in zip(tensors, sizes.tolist(), strict=True):
        image[:, h:] = 0.0
        image[:, :, w:] = 0.0
    return Scenes(
        tensors,
        sizes.to(device),
        tuple(torch.as_tensor(one, dtype=torch.float32, device=device) for one in boxes),
        tuple(torch.as_tensor(one, dtype=torch.int64, device=device) for one in labels),
        seed,
    )
