"""Crops of people or vehicles as batches."""

from __future__ import annotations

import sys

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from nas.data.augment import Augment
from nas.data.base import ReIDData, Split
from nas.data.batches import Batches
from nas.data.cache import ImageCache
from nas.data.images import Images
from nas.data.sampling import Sampling
from nas.training.stage import Stage


def cached(split: Split, images: Images) -> ImageCache:
    """The split's images at their size, in memory as far as they fit; a bar on a terminal while they are decoded."""
    num_processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("decoding images")
        return ImageCache(
            split,
            images.height,
            images.width,
            max_gib=images.max_gib,
            num_threads=images.workers,
            num_processes=num_processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def batches_of(
    data: ReIDData,
    cache: ImageCache,
    sampling: Sampling,
    augment: Augment,
    seed: int,
    stage: Stage,
    indices: np.ndarray | None = None,
) -> Batches:
    """The training batches of this process, with the data set's label noise."""
    fabric = stage.fabric
    return Batches(
        cache,
        data.train_labels,
        sampling,
        augment,
        seed,
        fabric.device,
        indices=indices,
        label_noise=data.label_noise,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
