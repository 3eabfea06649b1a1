"""Retrieval features: computed by a network, or read from a file, with the identities and cameras they belong to."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from nas.data.augment import normalise
from nas.data.base import Split
from nas.data.cache import Cache
from nas.metrics.rerank import Rerank
from nas.metrics.retrieval import Retrieval, evaluate_retrieval, whole_numbers
from nas.system.weights import save_tensors
from nas.tasks.reid.feature_files import FEATURES, read_arrays
from nas.tasks.reid.settings import Evaluation
from nas.training.stage import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features float `[Q, D]` and `[G, D]` on one device; identities and cameras int64 `[Q]` and `[G]`."""

    query: Tensor
    gallery: Tensor
    query_ids: Tensor
    gallery_ids: Tensor
    query_cameras: Tensor | None = None
    gallery_cameras: Tensor | None = None

    @classmethod
    def of(cls, query: Tensor, gallery: Tensor, query_split: Split, gallery_split: Split) -> Features:
        """Features with the identities and cameras of the splits they were computed from."""
        splits = {"query": query_split, "gallery": gallery_split}
        ids = {f"{name}_ids": torch.as_tensor(split.ids) for name, split in splits.items()}
        cameras = {
            f"{name}_cameras": torch.as_tensor(split.cameras)
            for name, split in splits.items()
            if split.cameras is not None
        }
        return cls(query=query, gallery=gallery, **ids, **cameras)

    @classmethod
    def load(cls, path: Path) -> Features:
        """Reads a file of arrays by the names of the fields or those of `feature_files.NAMES`; cameras may be left out.

        It may be `.safetensors`, `.npz`, MATLAB's `.mat` (up to version 7), or what torch wrote as `.pt` or `.pth`.

        Raises ValueError naming the file when it is missing or damaged, and the array that it lacks, that is of another
        kind or would not fit into memory.
        """
        arrays = read_arrays(path)
        for name, array in arrays.items():
            if array.is_floating_point() != (name in FEATURES):
                kind = "floating-point numbers" if name in FEATURES else "whole numbers"
                raise ValueError(f"{path}: {name} must hold {kind}, not {array.dtype}")
            if name not in FEATURES and array.ndim != 1:
                raise ValueError(f"{path}: {name} must be a row of numbers, not of shape {list(array.shape)}")
        return cls(
            **{
                name: array.float() if name in FEATURES else whole_numbers(array, f"{path}: {name}")
                for name, array in arrays.items()
            }
        )

    def save(self, path: Path) -> Path:
        """Writes safetensors that `load` reads."""
        return save_tensors(path, {name: tensor for name, tensor in vars(self).items() if tensor is not None}, {})

    @property
    def has_cameras(self) -> bool:
        return self.query_cameras is not None and self.gallery_cameras is not None

    @property
    def retrieval_arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """In the order in which every function of `nas.metrics` takes them."""
        return (self.query, self.gallery, self.query_ids, self.gallery_ids, self.query_cameras, self.gallery_cameras)

    def partition(self, query: np.ndarray, gallery: np.ndarray) -> Features:
        """Another partition of all images, which are the queries followed by the gallery: indices of each part."""
        parts = {"query": query, "gallery": gallery}
        both = {"": torch.cat([self.query, self.gallery]), "_ids": torch.cat([self.query_ids, self.gallery_ids])}
        if self.query_cameras is not None and self.gallery_cameras is not None:
            both["_cameras"] = torch.cat([self.query_cameras, self.gallery_cameras])
        return Features(
            **{
                f"{part}{name}": tensor[torch.as_tensor(indices, device=tensor.device)]
                for part, indices in parts.items()
                for name, tensor in both.items()
            }
        )

    def evaluate(self, how: Evaluation, rerank: Rerank | None = None, num_nearest: int = 0) -> Retrieval:
        """How well they retrieve; see `evaluate_retrieval` for what raises ValueError."""
        rules: dict[str, Any] = {"distance": how.distance, "ap": how.ap, "same_camera": how.same_camera}
        return evaluate_retrieval(*self.retrieval_arguments, **rules, rerank=rerank, num_nearest=num_nearest)


def extract(
    net: nn.Module, query: Cache, gallery: Cache, stage: Stage, how: Evaluation, progress: bool = False
) -> Features:
    """The retrieval features (float32, on the stage's device) of a test split's images.

    net: gives a `ReIDOutput`, or the features `[B, D]` themselves. progress: show a bar on a terminal.
    """
    of_query, of_gallery = (
        features_of(net, cache, stage, how, f"{name} features" if progress else "")
        for name, cache in (("query", query), ("gallery", gallery))
    )
    return Features.of(of_query, of_gallery, query.split, gallery.split)


def features_of(net: nn.Module, cache: Cache, stage: Stage, how: Evaluation, title: str) -> Tensor:
    """The retrieval features (float32, on the stage's device) of images, in their order. `title`: of a bar that is
    shown on a terminal. A network with `takes = "uint8"` gets the pixels, any other one normalised images."""
    training, parts, takes_pixels = net.training, [], getattr(net, "takes", "normalised") == "uint8"
    net.eval()
    starts = range(0, len(cache), how.batch_size)
    batches = track(
        _ahead(cache, starts, how.batch_size, stage.fabric.device),
        title,
        total=len(starts),
        console=Console(stderr=True),
        disable=not (title and sys.stderr.isatty()),
    )
    with torch.inference_mode(), stage.autocast():
        for images in batches:
            if not takes_pixels:
                images = normalise(images).contiguous(memory_format=torch.channels_last)
            feature = _feature(net, images)
            parts.append(((feature + _feature(net, images.flip(3))) / 2 if how.flip else feature).float())
    net.train(training)
    return torch.cat(parts)


def _feature(net: nn.Module, images: Tensor) -> Tensor:
    output = net(images)
    return getattr(output, "feature", output)


def _ahead(cache: Cache, starts: range, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """The images batch by batch on `device`; while one is in use, the next is being read."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque = deque()
        for start in starts:
            waiting.append(pool.submit(cache.get, np.arange(start, min(start + batch_size, len(cache))), device))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        yield from (batch.result() for batch in waiting)
