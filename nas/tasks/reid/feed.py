"""The images of a split in memory."""

from __future__ import annotations

import sys

import torch
from rich.console import Console
from rich.progress import Progress

from nas.data.base import Split
from nas.data.cache import ImageCache
from nas.data.images import Images


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
