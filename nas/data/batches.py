"""From a split to batches on a device: drawn by seed, augmented as a whole, prepared ahead."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from nas.data.augment import Augment, Sampled, augmented
from nas.data.cache import ImageCache
from nas.data.label_noise import fewest_identities, noisy_labels
from nas.data.resident import sent
from nas.data.sampling import Sampling

T = TypeVar("T")
VIEWS = 2
"""Of an image that is mirrored or not, and nothing else."""


class Batch(NamedTuple):
    """Images float [B, 3, H, W], ImageNet-normalised, or what else a task's networks take; labels int64 [B]; what a
    teacher said about them, once asked."""

    images: Any
    labels: Tensor
    teacher: Any = None
    views: Tensor | None = None
    """Which view of which image each is, int64 [B], where images have few: see `Batches.num_views`."""


class Batches:
    """The batches of an epoch. Each is a pure function of (seed, epoch, step), so a run can go on at any step.

    labels: of all images in `cache`, int64 [N], from 0 on. indices: the images to draw from (default: all), such as one
        half.
    label_noise: share of the labels to draw from that are wrong, others in each epoch: see `noisy_labels`. Nobody who
        has wrong labels knows the right ones, so the wrong ones decide which images are sampled together, too.
    num_prefetch: how many batches a thread prepares ahead; 0 prepares each when it is asked for.
    rank, world_size: of several processes, each takes every `world_size`-th batch, and all take equally many.
    """

    def __init__(
        self,
        cache: ImageCache,
        labels: np.ndarray,
        sampling: Sampling,
        augment: Augment,
        seed: int,
        device: torch.device | str = "cpu",
        num_prefetch: int = 2,
        *,
        indices: np.ndarray | None = None,
        label_noise: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(labels) != len(cache):
            raise ValueError(f"every image needs one label; got {len(labels)} labels for {len(cache)} images")
        self.cache, self.labels, self.sampling, self.augment = cache, labels, sampling, augment
        self.seed, self.num_prefetch = seed, num_prefetch
        self.device = this_device(device)
        self.resident = cache.resident(self.device)
        self.indices = np.arange(len(labels)) if indices is None else np.asarray(indices)
        self.rank, self.world_size = rank, world_size
        self.label_noise = label_noise
        self._check_noise()
        self._length = len(self._plan(0, self._labels(0))) // world_size
        if self._length == 0:
            raise ValueError(f"{world_size} processes need a batch each, but an epoch has fewer; use smaller batches")

    def __len__(self) -> int:
        """Batches of an epoch, for this rank."""
        return self._length

    def __call__(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from this rank's step `start` on. An error while preparing one is raised here."""
        labels = self._labels(epoch)
        plan = self._plan(epoch, labels)
        steps = (self.rank + step * self.world_size for step in range(start, len(self)))  # counted over all ranks
        return prefetched(lambda step: self._batch(epoch, step, plan[step], labels), steps, self.num_prefetch)

    @property
    def num_views(self) -> int | None:
        """Views that all images of the data set have together; None: more than can be counted."""
        return VIEWS * len(self.cache) if self.augment.mirrors_alone else None

    def views(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All views, as numbers [B] and images [B, 3, H, W], in blocks as large as a batch; the last ones come again in
        a block that would be smaller."""
        assert self.num_views is not None
        size, numbers = self.sampling.batch_size, torch.arange(self.num_views)
        for start in range(0, len(numbers), size):
            block = numbers[max(0, min(start, len(numbers) - size)) :][:size]
            read, nothing = self.cache.get((block // VIEWS).numpy()), torch.zeros(len(block), dtype=torch.int64)
            sampled = Sampled(block % VIEWS, *[nothing] * 6)
            yield block, augmented(read, sampled, 0, self.device)

    def _check_noise(self) -> None:
        if not self.label_noise:
            return
        fewest = fewest_identities(self.labels[self.indices], self.label_noise)
        if fewest < self.sampling.num_ids:
            raise ValueError(
                f"a batch of num_ids={self.sampling.num_ids} identities needs at least as many in every epoch, and "
                f"label_noise={self.label_noise} may leave only {fewest}; lower one of the two"
            )

    def _labels(self, epoch: int) -> np.ndarray:
        """The labels of all images in `epoch`, int64 [N], right or wrong."""
        labels, num_ids = self.labels.copy(), int(self.labels.max()) + 1
        labels[self.indices] = noisy_labels(labels[self.indices], self.label_noise, num_ids, self.seed, epoch)
        return labels

    def _plan(self, epoch: int, labels: np.ndarray) -> np.ndarray:
        """The images of all ranks' batches in `epoch`, int64 [num_batches, B]."""
        plan = self.sampling.plan(labels[self.indices], np.random.default_rng([self.seed, epoch]), epoch)
        return self.indices[plan]

    def _batch(self, epoch: int, step: int, chosen: np.ndarray, labels: np.ndarray) -> Batch:
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch, step))
        sampled = self.augment.sample(len(chosen), self.cache.height, self.cache.width, generator)
        of_images = torch.as_tensor(np.stack([chosen, labels[chosen]]), dtype=torch.int64)
        there = sent(torch.cat([of_images, torch.stack(sampled)]), self.device)  # one copy
        if self.resident is None:
            images = augmented(self.cache.get(chosen), sampled, self.augment.crop_padding, self.device)
        else:
            images = self.resident.augmented(there[0], Sampled(*there[2:]), self.augment.crop_padding)
        views = VIEWS * there[0] + there[2] if self.augment.mirrors_alone else None
        return Batch(images, there[1], views=views)


def prefetched(prepare: Callable[[int], T], steps: Iterator[int], num_prefetch: int) -> Iterator[T]:
    """What `prepare` makes of each step, in order; a thread works `num_prefetch` steps ahead. Its errors are raised
    here."""
    if num_prefetch == 0:
        yield from map(prepare, steps)
        return
    pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))  # the rest is the network's
    try:
        ahead = deque(pool.submit(prepare, step) for step in islice(steps, num_prefetch))
        while ahead:
            ready = ahead.popleft().result()
            ahead.extend(pool.submit(prepare, step) for step in islice(steps, 1))
            yield ready
    finally:
        pool.shutdown(cancel_futures=True)


def this_device(device: torch.device | str) -> torch.device:
    """`device` with its number, for a thread that would take the first one."""
    device = torch.device(device)
    is_open = device.type == "cuda" and device.index is None
    return torch.device("cuda", torch.cuda.current_device()) if is_open else device


def seed_of(seed: int, epoch: int, step: int) -> int:
    """What a generator of torch is seeded with for one batch."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
