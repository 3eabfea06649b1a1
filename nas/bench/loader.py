"""`nas bench loader`: how many images per second reach a training, against the bare decode of their files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from nas.data.augment import Augment
from nas.data.base import Split
from nas.data.batches import Batches
from nas.data.cache import ImageCache
from nas.data.images import NUM_THREADS, Files
from nas.data.sampling import Shuffled
from nas.data.sets import data_set, names_for
from nas.data.source import DataSource
from nas.training.machine import Machine
from search_spaces.ranges import Count, Pixels, Processes, checked


@checked
def loader(
    data: str = "pedestrians",
    path: Path | None = None,
    height: Pixels = 256,
    width: Pixels = 128,
    batch: Count = 64,
    images: Count = 2048,
    threads: Processes = NUM_THREADS,
    repeats: Count = 5,
    machine: Machine = Machine(),
) -> dict[str, dict[str, float]]:
    """Augmented batches of the first `images` training images, from memory and from files, and what they consist of.

    `images_per_second`: median over `repeats`; `spread`: fastest less slowest; `ratio`: median of the ratio to the
    bare decode in the same turn, which is one thread that opens file after file. All files were read once before.
    data, path: as in `nas data check`; what is drawn by the program is first written as JPEG. Raises ValueError for
    counts below 1, and where a batch is larger than all images.
    """
    device = machine.fabric().device
    with _files(data, path, images) as split:
        memory, none = (ImageCache(split, height, width, max_gib=gib, num_threads=threads) for gib in (8.0, 0.0))
        ways = {
            "bare decode": lambda: _read(split, 1),
            f"bare decode, {threads} threads": lambda: _read(split, threads),
            "filling the memory": lambda: len(ImageCache(split, height, width, num_threads=threads)),
            "batches from memory": lambda: _epoch(memory, batch, device),
            "batches from files": lambda: _epoch(none, batch, device),
        }
        turns = [{name: _speed(run) for name, run in ways.items()} for _ in range(repeats)]
    return {name: _row([turn[name] for turn in turns], [turn["bare decode"] for turn in turns]) for name in ways}


@contextmanager
def _files(data: str, path: Path | None, num_images: int) -> Iterator[Split]:
    """The first training images, in files, for as long as the `with` lasts."""
    source = data_set(data, path)
    if not isinstance(source, DataSource):
        raise ValueError(f"the benchmark takes a data set of crops, {', '.join(names_for('reid'))}; {data} is none")
    train = source.load().train
    split = train.take(np.arange(min(num_images, len(train))))
    if not getattr(split.images, "always_readable", False):
        yield split
        return
    with TemporaryDirectory() as folder:
        paths = tuple(Path(folder) / f"{i}.jpg" for i in range(len(split)))
        for i, file in enumerate(paths):
            split.images.read(i).save(file, quality=95)
        yield Split(images=Files(paths), ids=split.ids)


def _read(split: Split, num_threads: int) -> int:
    with ThreadPoolExecutor(num_threads) as pool:
        list(
            pool.map(
                lambda first: [split.images.read(i) for i in range(first, len(split), num_threads)], range(num_threads)
            )
        )
    return len(split)


def _epoch(cache: ImageCache, batch: int, device: torch.device) -> int:
    batches = Batches(cache, np.zeros(len(cache), dtype=np.int64), Shuffled(batch_size=batch), Augment(), 0, device)
    num_images = sum(len(one.labels) for one in batches(0))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return num_images


def _speed(run: Callable[[], int]) -> float:
    start = perf_counter()
    num_images = run()
    return num_images / (perf_counter() - start)


def _row(speeds: list[float], bare: list[float]) -> dict[str, float]:
    return {
        "images_per_second": statistics.median(speeds),
        "spread": max(speeds) - min(speeds),
        "ratio": statistics.median(speed / base for speed, base in zip(speeds, bare, strict=True)),
    }
