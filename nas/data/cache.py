"""The images of a split at one size: decoded once into memory as far as they fit there, the others when needed."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.base import Split
from nas.data.checks import Flaws
from nas.data.images import NUM_THREADS
from nas.data.resident import Resident, sent
from nas.system.memory import spare_bytes

CPU = torch.device("cpu")
SHARE = 0.75  # of the memory that is free; networks and what is read ahead need some too

logger = logging.getLogger(__name__)


class ImageCache:
    """The images of a split, decoded and resized (bilinear, antialiased) to uint8 [3, height, width].

    As many of them as fit into `max_gib` and into three quarters of the free memory are kept there, the first ones. If
    these are not all, a line of log says so, and `get` decodes the others each time, with the same result. Either way
    every image is decoded once here, so that an unreadable one is an error (ValueError, naming the first ten and how
    many there are) before training and not in the middle of it. Images that come out too dark (see
    `too_dark`) are one warning, and so are those with an orientation tag that is not followed and those of several
    frames.

    num_threads: how many decode at the same time. num_processes: how many share the machine's memory.
    progress: called with (images done, images in all) while every image is decoded.
    remedy: what an error says to do with images that cannot be read.
    """

    def __init__(
        self,
        split: Split,
        height: int,
        width: int,
        *,
        max_gib: float = 8.0,
        num_threads: int = NUM_THREADS,
        num_processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
        remedy: str = 'Replace or remove them, or set unreadable to "skip" to leave them out',
    ) -> None:
        self.remedy = remedy
        self.split, self.height, self.width = split, height, width
        self.num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads)
        self._resident: dict[torch.device, Resident | None] = {}
        self._kept = self._filled(self._num_kept(max_gib, num_processes), progress)

    def __len__(self) -> int:
        return len(self.split)

    def resident(self, device: torch.device) -> Resident | None:
        """The images on a GPU, once they are asked for; None on a CPU, and where they do not all fit."""
        if device.type != "cuda" or len(self._kept) < len(self):
            return None
        if device not in self._resident:
            self._resident[device] = Resident.where_it_fits(self._kept, device)
        return self._resident[device]

    def get(self, indices: np.ndarray, device: torch.device = CPU) -> Tensor:
        """The images at `indices` [B], uint8 [B, 3, height, width], on `device`."""
        resident = self.resident(device)
        if resident is None:
            return sent(self._read(indices), device)
        return resident.get(sent(torch.as_tensor(indices), device))

    def _read(self, indices: np.ndarray) -> Tensor:
        if len(self._kept) == len(self):
            return self._kept.index_select(0, torch.as_tensor(indices))
        images = torch.empty(len(indices), 3, self.height, self.width, dtype=torch.uint8)
        places = images.numpy()

        def read(first: int) -> None:
            for place in range(first, len(indices), self.num_threads):
                i = int(indices[place])
                places[place] = self._kept[i].numpy() if i < len(self._kept) else self._sized(self.split.images.read(i))

        list(self._pool.map(read, range(self.num_threads)))  # a call for each image would cost more than its share
        return images

    def _num_kept(self, max_gib: float, num_processes: int) -> int:
        """How many images fit. Says so in one line when these are not all, unless none were wanted."""
        each, bound, free = 3 * self.height * self.width, max_gib * 2**30, SHARE * spare_bytes() / num_processes
        num_kept = min(len(self), int(min(bound, free) // each))
        if num_kept < len(self) and max_gib > 0:
            limit = "--images.max-gib" if bound < free else "three quarters of the free memory"
            logger.warning(
                "%d of %d images stay in memory at %dx%d, the others are decoded whenever they are drawn: all need "
                "%.1f GiB, %s allows %.1f GiB",
                num_kept, len(self), self.height, self.width, len(self) * each / 2**30, limit, min(bound, free) / 2**30,
            )  # fmt: skip
        return num_kept

    def _filled(self, num_kept: int, progress: Callable[[int, int], None] | None) -> Tensor:
        """The first `num_kept` images. Decodes the others too, to find unreadable ones, unless there can be none."""
        images = torch.empty(num_kept, 3, self.height, self.width, dtype=torch.uint8)
        places, flaws = images.numpy(), Flaws()

        def fill(i: int) -> None:
            image = flaws.read(self.split.images, i)
            if image is not None and i < num_kept:
                places[i] = self._sized(image)

        num_read = num_kept if getattr(self.split.images, "always_readable", False) else len(self)
        for done, _ in enumerate(self._pool.map(fill, range(num_read)), start=1):
            if progress:
                progress(done, num_read)
        flaws.say(self.remedy, stacklevel=3)
        return images

    def _sized(self, image: Image.Image) -> np.ndarray:
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1)


class CachePart:
    """The images at `indices` of another cache, in that order, read from there."""

    def __init__(self, cache: ImageCache, indices: np.ndarray) -> None:
        self.split = cache.split.take(indices)
        self.cache, self.indices = cache, indices

    def __len__(self) -> int:
        return len(self.indices)

    def get(self, indices: np.ndarray, device: torch.device = CPU) -> Tensor:
        """See `ImageCache.get`."""
        return self.cache.get(self.indices[indices], device)


Cache = ImageCache | CachePart
