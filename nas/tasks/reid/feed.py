"""The images of a split in memory."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from nas.data.base import Split
from nas.data.cache import ImageCache
from nas.data.images import Images
from nas.system.launch import num_on_node
from nas.system.progress import timed
from nas.tasks.decoding import decoding

MANY = 2000
"""Images from which on it is said that they are decoded, and how long it took."""


def cached(split: Split, images: Images) -> ImageCache:
    """The split's images at their size, in memory as far as they fit; a bar on a terminal while they are decoded."""
    is_first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    said = timed(f"decoding {len(split)} images") if is_first and len(split) >= MANY else nullcontext()
    with said, decoding("images") as progress:
        return ImageCache(
            split,
            images.height,
            images.width,
            max_gib=images.max_gib,
            num_threads=images.workers,
            num_processes=num_on_node(),
            progress=progress,
        )
