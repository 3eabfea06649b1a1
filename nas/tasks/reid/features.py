"""Retrieval features: computed by a network, or read from a file, with the identities and cameras they belong to."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from nas.data.augment import normalise
from nas.data.base import Split
from nas.data.cache import Cache
from nas.errors import first_line
from nas.metrics.rerank import Rerank
from nas.metrics.retrieval import Retrieval, evaluate_retrieval
from nas.system.files import blamed_on
from nas.system.memory import spare_bytes
from nas.system.weights import load_state, load_weights, save_tensors
from nas.tasks.reid.settings import Evaluation
from nas.training.stage import Stage

FEATURE_FILES = (".npz", ".mat", ".pt", ".pth")
"""Endings of files that can hold nothing but features, beside `.safetensors`."""
NEEDED = ("query", "gallery", "query_ids", "gallery_ids")
CAMERAS = ("query_cameras", "gallery_cameras")
NAMES = {
    f"{side}_{short}" if short else side: (f"{side}_{theirs}", f"{side[0]}{theirs[0]}")
    for side in ("query", "gallery")
    for short, theirs in (("", "f"), ("ids", "label"), ("cameras", "cam"))
}
"""What public evaluation scripts call the arrays: layumi's Person_reID_baseline_pytorch `query_f`, `query_label` and
`query_cam`, deep-sort's `qf` and `ql`."""


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
        """Reads a file of arrays by the names of the fields or by those of `NAMES`; the cameras may be left out.

        It may be `.safetensors`, `.npz`, MATLAB's `.mat` (up to version 7), or what torch wrote as `.pt` or `.pth`.

        Raises ValueError naming the file when it is missing or damaged, lacks an array or holds another kind of it.
        """
        arrays = _renamed(_arrays(path))
        if missing := [name for name in NEEDED if name not in arrays]:
            raise ValueError(
                f"{path} must hold the arrays {', '.join(NEEDED)} (and {', '.join(CAMERAS)}); it lacks "
                f"{', '.join(missing)} and holds {', '.join(sorted(arrays)) or 'nothing'}"
            )
        for name in (*NEEDED, *CAMERAS):
            if name in arrays and arrays[name].is_floating_point() != (name in NEEDED[:2]):
                kind = "floating-point numbers" if name in NEEDED[:2] else "whole numbers"
                raise ValueError(f"{path}: {name} must hold {kind}, not {arrays[name].dtype}")
            if name in arrays and name not in NEEDED[:2] and arrays[name].ndim != 1:
                raise ValueError(f"{path}: {name} must be a row of numbers, not of shape {list(arrays[name].shape)}")
        return cls(
            **{
                name: arrays[name].float() if name in NEEDED[:2] else arrays[name].long()
                for name in (*NEEDED, *CAMERAS)
                if name in arrays
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
        _features(net, cache, stage, how, f"{name} features" if progress else "")
        for name, cache in (("query", query), ("gallery", gallery))
    )
    return Features.of(of_query, of_gallery, query.split, gallery.split)


def _features(net: nn.Module, cache: Cache, stage: Stage, how: Evaluation, title: str) -> Tensor:
    training, parts = net.training, []
    net.eval()
    starts = range(0, len(cache), how.batch_size)
    batches = track(
        _ahead(cache, starts, how.batch_size),
        title,
        total=len(starts),
        console=Console(stderr=True),
        disable=not (title and sys.stderr.isatty()),
    )
    with torch.inference_mode(), stage.autocast():
        for images in batches:
            images = normalise(images.to(stage.fabric.device)).contiguous(memory_format=torch.channels_last)
            feature = _feature(net, images)
            parts.append(((feature + _feature(net, images.flip(3))) / 2 if how.flip else feature).float())
    net.train(training)
    return torch.cat(parts)


def _feature(net: nn.Module, images: Tensor) -> Tensor:
    output = net(images)
    return getattr(output, "feature", output)


def _ahead(cache: Cache, starts: range, batch_size: int) -> Iterator[Tensor]:
    """The images batch by batch; while one is in use, the next is being read."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque = deque()
        for start in starts:
            waiting.append(pool.submit(cache.get, np.arange(start, min(start + batch_size, len(cache)))))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        yield from (batch.result() for batch in waiting)


def _renamed(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays by the names of `Features`. Of scripts' files rows of labels may be `[1, N]` or real."""
    known = {theirs: name for name, other in NAMES.items() for theirs in other if name not in arrays}
    renamed = {}
    for theirs, array in arrays.items():
        name = known.get(theirs, theirs)
        if name != theirs and name not in NEEDED[:2]:
            array = array.flatten()
            array = array.long() if array.is_floating_point() and torch.equal(array, array.round()) else array
        renamed[name] = array
    return renamed


def _arrays(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_weights(path)[0]
    if not path.is_file():
        raise ValueError(f"the features file {path} does not exist")
    if path.suffix == ".npz":
        return _of_numpy(path)
    found = _of_matlab(path) if path.suffix == ".mat" else load_state(path)
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} must hold arrays by name, not a {type(found).__name__}")
    with blamed_on(path):
        return {str(name): torch.as_tensor(value) for name, value in found.items() if isinstance(value, Tensor | list)}


def _of_numpy(path: Path) -> dict[str, Tensor]:
    try:
        with ZipFile(path) as packed:
            claimed = sum(part.file_size for part in packed.infolist())
        if claimed > spare_bytes():
            raise ValueError(f"they take {claimed / 2**30:.1f} GiB, this machine has {spare_bytes() / 2**30:.1f} free")
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(np.ascontiguousarray(file[name])) for name in file.files}
    except MemoryError as error:
        raise ValueError(f"{path} must hold arrays that fit into memory: {first_line(error)}") from None
    except (BadZipFile, ValueError, TypeError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be an .npz file of plain number arrays: {first_line(error)}") from None


def _of_matlab(path: Path) -> dict[str, Tensor]:
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[*NAMES, *(name for theirs in NAMES.values() for name in theirs)])
        arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
        return {name: torch.from_numpy(each.astype(each.dtype.newbyteorder("="))) for name, each in arrays.items()}
    except NotImplementedError:
        raise ValueError(f"{path} is of MATLAB's version 7.3: save it with -v7, or as .npz") from None
    except Exception as error:  # scipy's reader raises whatever a damaged file makes it stumble over
        raise ValueError(f"{path} must be a .mat file of plain number arrays: {first_line(error)}") from error
