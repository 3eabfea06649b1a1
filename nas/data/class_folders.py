"""Images in a folder for each class, as ImageNet's: what a backbone is pretrained on. They are decoded when needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.augment import normalise
from nas.data.batches import Batch, prefetched, this_device
from nas.data.checks import listing
from nas.data.images import Files, reason_of
from nas.data.sets.folders import check_there, images_in

NAME = "the pretraining"
AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of a random crop: its share of the image, its width by its height, and how many are sampled until one fits."""
CENTRE = 0.875
"""Share of the shorter side that validation sees."""
NUM_PREFETCH = 3
"""Batches that are prepared ahead."""


@dataclass(frozen=True)
class ClassImages:
    """Images with their classes, int64 [N]."""

    images: Files
    labels: np.ndarray


@dataclass(frozen=True)
class ClassFolders:
    """The two splits of a classification data set, and the names of its classes in the order of their labels."""

    classes: tuple[str, ...]
    train: ClassImages
    val: ClassImages


def read_class_folders(root: Path) -> ClassFolders:
    """The images in `root/train/CLASS` and `root/val/CLASS`, none of them decoded.

    Raises ValueError where a folder is missing or empty, for a class of one split alone, and for fewer than two.
    """
    check_class_folders(root)
    classes, others = (_folders_in(root / split) for split in ("train", "val"))
    for names, without, split in ((classes, others, "val"), (others, classes, "train")):
        if missing := [name for name in names if name not in without]:
            raise ValueError(
                f'every class needs a folder in train and in val, and "{root / split}" lacks {missing[0]!r}'
            )
    if len(classes) < 2:
        raise ValueError(f'a classification needs at least two classes, and "{root / "train"}" has {len(classes)}')
    return ClassFolders(tuple(classes), *(_split(root / split, classes) for split in ("train", "val")))


def check_class_folders(root: Path) -> None:
    """Raises ValueError where the folder of a split is missing."""
    for split in ("train", "val"):
        check_there(root / split, NAME, ("train/CLASS", "val/CLASS"))


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _split(folder: Path, classes: list[str]) -> ClassImages:
    found = [images_in(folder / name, NAME)[0] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in found])
    return ClassImages(Files(tuple(path for paths in found for path in paths)), labels)


def check_headers(images: Files, workers: int) -> None:
    """Raises ValueError naming images that Pillow cannot open. Their pixels are not decoded."""

    def problem(path: Path) -> str:
        try:
            with Image.open(path):
                return ""
        except Exception as error:  # noqa: BLE001 - Pillow raises nearly every type
            return reason_of(error)

    with ThreadPoolExecutor(workers) as pool:
        problems = zip(images.paths, pool.map(problem, images.paths, chunksize=64), strict=True)
        bad = [path for path, why in problems if why]
    if bad:
        raise ValueError(f"{len(bad)} images cannot be read: remove or replace {listing(bad)}")


class ClassBatches:
    """The training batches of an epoch: random crops of a square of `size` pixels, mirrored or not.

    Each is a pure function of (seed, epoch, step), and each crop of (seed, epoch, image). Images beyond the last whole
    batch are left out of the epoch. rank, world_size: each process takes every `world_size`-th batch.
    """

    def __init__(
        self,
        split: ClassImages,
        batch_size: int,
        size: int,
        seed: int,
        device: torch.device | str = "cpu",
        workers: int = 1,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.split, self.batch_size, self.size, self.seed = split, batch_size, size, seed
        self.device, self.workers = this_device(device), workers
        self.rank, self.world_size = rank, world_size
        if not len(self):
            raise ValueError(
                f"an epoch needs at least {batch_size * world_size} images, a batch for each process, and there are "
                f"{len(split.labels)}: lower --pretraining.batch-size"
            )

    def __len__(self) -> int:
        return len(self.split.labels) // (self.batch_size * self.world_size)

    def __call__(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from this process's step `start` on. Raises ValueError naming an unreadable image."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.split.labels))
        with ThreadPoolExecutor(self.workers) as pool:

            def crop(i: int) -> np.ndarray:
                return random_crop(self.split.images.read(i), self.size, np.random.default_rng([self.seed, epoch, i]))

            def batch(step: int) -> Batch:
                chosen = order[step * self.batch_size :][: self.batch_size]
                return _batch(list(pool.map(crop, chosen.tolist())), self.split.labels[chosen], self.device)

            steps = (self.rank + step * self.world_size for step in range(start, len(self)))
            yield from prefetched(batch, steps, NUM_PREFETCH)


def centre_batches(
    split: ClassImages, batch_size: int, size: int, device: torch.device | str, workers: int, rank: int, world_size: int
) -> Iterator[Batch]:
    """This process's share of a split, each image's middle as a square of `size` pixels."""
    own = np.arange(rank, len(split.labels), world_size)
    place = this_device(device)
    with ThreadPoolExecutor(workers) as pool:

        def batch(start: int) -> Batch:
            chosen = own[start : start + batch_size]
            crops = pool.map(lambda i: centre_crop(split.images.read(i), size), chosen.tolist())
            return _batch(list(crops), split.labels[chosen], place)

        yield from prefetched(batch, iter(range(0, len(own), batch_size)), NUM_PREFETCH)


def _batch(crops: list[np.ndarray], labels: np.ndarray, device: torch.device) -> Batch:
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device)
    return Batch(normalise(images), torch.from_numpy(labels).to(device))


def random_crop(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [size, size, 3]: a rectangle of `AREA` and `RATIO` (Szegedy et al. 2015), mirrored every other time. Where
    none of ten fits, the largest one in the middle whose ratio is allowed."""
    width, height = image.size
    areas, ratios = rng.uniform(*AREA, TRIES), np.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1]), TRIES))
    down, across, mirror = rng.random(3)
    wide = np.sqrt(areas * width * height * ratios).round()
    high = np.sqrt(areas * width * height / ratios).round()
    fits = (wide >= 1) & (high >= 1) & (wide <= width) & (high <= height)
    if fits.any():
        w, h = int(wide[fits.argmax()]), int(high[fits.argmax()])
        left, top = math.floor(across * (width - w + 1)), math.floor(down * (height - h + 1))
    else:
        w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
        left, top = (width - w) // 2, (height - h) // 2
    crop = _resized(image, size, (left, top, left + w, top + h))
    return crop[:, ::-1] if mirror < 0.5 else crop


def centre_crop(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: the square in the middle whose sides are `CENTRE` of the shorter side."""
    side = CENTRE * min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    return _resized(image, size, (left, top, left + side, top + side))


def _resized(image: Image.Image, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of a batch have their class first, and among the first five, of logits [B, C]: [2]."""
    first = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    return torch.stack([first[:, :1].sum(), first.sum()])
