"""From a split to batches on a device: decoded once, drawn by seed, augmented as a whole, prepared ahead."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as remembered
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nas.data.base import NUM_THREADS, Split, check_readable, unreadable_error

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    """Images float [B, 3, H, W], ImageNet-normalised; labels int64 [B]; what a teacher said about them, once asked."""

    images: Tensor
    labels: Tensor
    teacher: Any = None


class ImageCache:
    """The images of a split, decoded and resized (bilinear, antialiased) to uint8 [3, height, width].

    They are all kept in memory when they fit into `max_gib`; otherwise each `get` decodes what it needs, with the same
    result. Either way every image is decoded once here, so that an unreadable one is an error (ValueError, naming the
    first ten and how many there are) before training and not in the middle of it.

    progress: called with (images done, images in all) while the memory is being filled.
    """

    def __init__(
        self,
        split: Split,
        height: int,
        width: int,
        *,
        max_gib: float = 8.0,
        num_threads: int = NUM_THREADS,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.split, self.height, self.width = split, height, width
        self._pool = ThreadPoolExecutor(num_threads)
        self._images: Tensor | None = None
        if len(split) * 3 * height * width <= max_gib * 2**30:
            self._images = self._filled(progress)
        elif failures := check_readable(split, num_threads):
            raise unreadable_error(failures)

    def __len__(self) -> int:
        return len(self.split)

    def get(self, indices: np.ndarray) -> Tensor:
        """The images at `indices` [B], uint8 [B, 3, height, width], on the CPU."""
        if self._images is not None:
            return self._images[torch.as_tensor(indices)]
        return torch.stack(list(self._pool.map(self._decoded, indices)))

    def _filled(self, progress: Callable[[int, int], None] | None) -> Tensor:
        images = torch.empty(len(self), 3, self.height, self.width, dtype=torch.uint8)
        failures = []

        def fill(i: int) -> tuple[str, str] | None:
            try:
                images[i] = self._decoded(i)
            except ValueError as error:
                return self.split.images.name(i), str(error)
            return None

        for done, failure in enumerate(self._pool.map(fill, range(len(self))), start=1):
            failures += [failure] if failure else []
            if progress:
                progress(done, len(self))
        if failures:
            raise unreadable_error(failures)
        return images

    def _decoded(self, i: int) -> Tensor:
        image = self.split.images.read(int(i))
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@remembered
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]).mul(255).view(2, 3, 1, 1).to(device)
    return mean, std


def normalise(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] to float with ImageNet's mean and standard deviation taken out."""
    mean, std = _mean_and_std(images.device)
    return images.float().sub_(mean).div_(std)


class Drawn(NamedTuple):
    """What chance decided for a batch, int64 [B] each: mirrored or not (0, 1), the crop's corner in the padded image,
    and the erased rectangle (rows top .. bottom - 1, columns left .. right - 1; empty when bottom is 0)."""

    flip: Tensor
    crop_top: Tensor
    crop_left: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random mirroring, shifting and erasing of whole batches, on any device, the same on each.

    flip: probability of mirroring left to right.
    crop_padding: black pixels added on each side before cropping back to the same size at a random place.
    erase: probability of random erasing (Zhong et al., 2020): a rectangle of 0.02 to 0.4 of the area and an aspect
        ratio of 0.3 to 3.33 is filled with the mean. Deviation: the ratio is drawn evenly in its logarithm, so that
        tall and wide are equally likely. The first of ten drawn rectangles that fits is taken.
    """

    flip: float = 0.5
    crop_padding: int = 10
    erase: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 [B, 3, H, W] to normalised float [B, 3, H, W]. `generator` lives on the CPU, the images anywhere."""
        drawn = self.draw(*images.shape[::2], images.shape[3], generator)
        return augmented(images, drawn, self.crop_padding)

    def draw(self, num_images: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """What `__call__` applies to a batch of `num_images` images of this size."""
        flip = torch.rand(num_images, generator=generator) < self.flip
        corner = torch.randint(0, 2 * self.crop_padding + 1, (2, num_images), generator=generator)
        rectangle = _rectangles(num_images, height, width, generator)
        erased = torch.rand(num_images, generator=generator) < self.erase
        return Drawn(flip.long(), *corner, *(rectangle * erased))


def _rectangles(num_images: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Rectangles for random erasing, int64 [4, B]: top, bottom, left, right; zeros where none of ten fits."""
    area, log_aspect, down, across = torch.rand(4, num_images, 10, generator=generator)
    area = (0.02 + 0.38 * area) * height * width
    aspect = torch.exp((2 * log_aspect - 1) * np.log(10 / 3))
    tall, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (tall >= 1) & (wide >= 1) & (tall < height) & (wide < width)
    top, left = (down * (height - tall + 1)).floor(), (across * (width - wide + 1)).floor()
    candidates = torch.stack([top, top + tall, left, left + wide]).long() * fits
    first = fits.int().argmax(dim=1).expand(4, num_images)
    return candidates.gather(2, first[..., None]).squeeze(2)


def augmented(images: Tensor, drawn: Drawn, crop_padding: int) -> Tensor:
    """`images` uint8 [B, 3, H, W] shifted, mirrored and erased as `drawn` says; normalised float [B, 3, H, W]."""
    num_images, _, height, width = images.shape
    drawn = Drawn(*torch.stack(drawn).to(images.device, non_blocking=True))  # one transfer for all
    if crop_padding:
        windows = F.pad(images, [crop_padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(num_images, device=images.device), :, drawn.crop_top, drawn.crop_left]
    images = torch.where(drawn.flip.bool().view(-1, 1, 1, 1), images.flip(3), images)
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    top, bottom, left, right = (edge.view(-1, 1, 1, 1) for edge in drawn[3:])
    erased = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return normalise(images).masked_fill_(erased, 0.0)


def class_balanced(
    labels: np.ndarray, num_ids: int, images_per_id: int, rng: np.random.Generator, num_batches: int | None = None
) -> np.ndarray:
    """Indices into `labels` [N] for batches of `num_ids` identities with `images_per_id` images of each, one after the
    other: int64 [num_batches, num_ids * images_per_id]; by default about as many batches as N fills.

    All identities come by before one comes again, and none twice in a batch. The images of an identity are drawn
    without replacement; one with fewer repeats them as evenly as it can. Raises ValueError for too few identities.
    """
    identities, positions = np.unique(labels, return_inverse=True)
    if len(identities) < num_ids:
        raise ValueError(
            f"a batch of num_ids={num_ids} identities needs at least as many in the data, which has {len(identities)}; "
            f"set num_ids to at most {len(identities)}"
        )
    images_of = np.split(np.argsort(positions, kind="stable"), np.cumsum(np.bincount(positions))[:-1])
    num_batches = num_batches or max(1, len(labels) // (num_ids * images_per_id))
    batches = _identity_batches(len(identities), num_ids, num_batches, rng)
    return np.array(
        [[i for one in batch for i in np.resize(rng.permutation(images_of[one]), images_per_id)] for batch in batches]
    )


def _identity_batches(
    num_identities: int, num_ids: int, num_batches: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    waiting = np.empty(0, dtype=np.int64)
    for _ in range(num_batches):
        if len(waiting) < num_ids:
            fresh = rng.permutation(num_identities)
            again = np.isin(fresh, waiting)  # already in this batch: last in the new round
            waiting = np.concatenate([waiting, fresh[~again], fresh[again]])
        yield waiting[:num_ids]
        waiting = waiting[num_ids:]


def shuffled(labels: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices into `labels` [N] in random order, int64 [N // batch_size, batch_size]; the rest of N is left out.

    Raises ValueError when there are fewer images than `batch_size`.
    """
    num_batches = len(labels) // batch_size
    if num_batches == 0:
        raise ValueError(
            f"a batch of batch_size={batch_size} images needs at least as many in the data, which has {len(labels)}; "
            f"set batch_size to at most {len(labels)}"
        )
    return rng.permutation(len(labels))[: num_batches * batch_size].reshape(num_batches, batch_size)


@dataclass(frozen=True, kw_only=True)
class ClassBalanced:
    """Batches of `num_ids` identities with `images_per_id` images of each: see `class_balanced`."""

    num_ids: int = 8
    images_per_id: int = 2
    num_batches: int | None = None
    """Batches in an epoch; None: as many as there are images for."""

    def plan(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return class_balanced(labels, self.num_ids, self.images_per_id, rng, self.num_batches)


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """Batches of `batch_size` images in random order: see `shuffled`."""

    batch_size: int = 64

    def plan(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return shuffled(labels, self.batch_size, rng)


Sampling = ClassBalanced | Shuffled


class Batches:
    """The batches of an epoch. Each is a pure function of (seed, epoch, step), so a run can go on at any step.

    labels: of all images in `cache`, int64 [N]. indices: the images to draw from (default: all), such as one half.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(labels) != len(cache):
            raise ValueError(f"every image needs one label; got {len(labels)} labels for {len(cache)} images")
        self.cache, self.labels, self.sampling, self.augment = cache, labels, sampling, augment
        self.seed, self.num_prefetch = seed, num_prefetch
        self.device = _numbered(torch.device(device))
        self.indices = np.arange(len(labels)) if indices is None else np.asarray(indices)
        self.rank, self.world_size = rank, world_size
        self._length = len(self._plan(epoch=0)) // world_size
        if self._length == 0:
            raise ValueError(f"{world_size} processes need a batch each, but an epoch has fewer; use smaller batches")

    def __len__(self) -> int:
        """Batches of an epoch, for this rank."""
        return self._length

    def __call__(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from this rank's step `start` on. An error while preparing one is raised here."""
        plan = self._plan(epoch)
        steps = (self.rank + step * self.world_size for step in range(start, len(self)))  # counted over all ranks
        if self.num_prefetch == 0:
            yield from (self._batch(epoch, step, plan[step]) for step in steps)
            return
        pool = ThreadPoolExecutor(max_workers=1)
        try:
            ahead = deque(pool.submit(self._batch, epoch, s, plan[s]) for s in islice(steps, self.num_prefetch))
            while ahead:
                ready = ahead.popleft().result()
                ahead.extend(pool.submit(self._batch, epoch, s, plan[s]) for s in islice(steps, 1))
                yield ready
        finally:
            pool.shutdown(cancel_futures=True)

    def _plan(self, epoch: int) -> np.ndarray:
        """The images of all ranks' batches in `epoch`, int64 [num_batches, B]."""
        plan = self.sampling.plan(self.labels[self.indices], np.random.default_rng([self.seed, epoch]))
        return self.indices[plan]

    def _batch(self, epoch: int, step: int, chosen: np.ndarray) -> Batch:
        images, labels = self.cache.get(chosen), torch.as_tensor(self.labels[chosen], dtype=torch.int64)
        if self.device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        images, labels = (t.to(self.device, non_blocking=True) for t in (images, labels))
        seed = np.random.SeedSequence([self.seed, epoch, step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> 1))
        return Batch(self.augment(images, generator), labels)


def _numbered(device: torch.device) -> torch.device:
    """`device` with its number: the preparing thread would otherwise take the first GPU, not the current one."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
