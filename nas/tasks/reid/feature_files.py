"""Files of retrieval features that somebody saved, by whatever script: their arrays, read without running anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from nas.errors import first_line
from nas.system.memory import spare_bytes
from nas.system.weights import load_state, load_weights

FEATURE_FILES = (".npz", ".mat", ".pt", ".pth")
"""Endings of files that can hold nothing but features, beside `.safetensors`."""
FEATURES = ("query", "gallery")
NEEDED = (*FEATURES, "query_ids", "gallery_ids")
CAMERAS = ("query_cameras", "gallery_cameras")
NAMES = {
    f"{side}_{short}" if short else side: (f"{side}_{theirs}", f"{side[0]}{theirs[0]}")
    for side in FEATURES
    for short, theirs in (("", "f"), ("ids", "label"), ("cameras", "cam"))
}
"""What public evaluation scripts call the arrays: layumi's Person_reID_baseline_pytorch `query_f`, `query_label` and
`query_cam`, deep-sort's `qf` and `ql`."""
LARGEST_EXACT = 2**53
"""Below it every whole number is a float64."""
MATLAB_BYTES = {"logical": 1, "single": 4} | {f"{u}int{bits}": bits // 8 for u in ("", "u") for bits in (8, 16, 32)}
"""Of a number, by the names of MATLAB's classes; of all others 8."""


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays `NEEDED` and `CAMERAS`, as far as the file has them, by these names; others are not looked at.

    Of scripts' and MATLAB's files rows of labels may be `[1, N]` or real. Raises ValueError naming the file when it is
    missing or damaged, and the array that is missing, holds no plain real numbers or does not fit into memory.
    """
    if not path.is_file():
        raise ValueError(f"the features file {path} does not exist")
    found = READERS[path.suffix](path)
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} must hold arrays by name, not a {type(found).__name__}")
    theirs = {name: next((each for each in (name, *others) if each in found), "") for name, others in NAMES.items()}
    if missing := [name for name in NEEDED if not theirs[name]]:
        raise ValueError(
            f"{path} must hold the arrays {', '.join(NEEDED)} (and {', '.join(CAMERAS)}); it lacks "
            f"{', '.join(missing)} and holds {', '.join(sorted(map(str, found))) or 'nothing'}"
        )
    arrays = {name: _tensor(found[their], f"{path}: {their}") for name, their in theirs.items() if their}
    _check_memory(path, (4 * array.numel() for array in arrays.values()))
    return {
        name: array if name in FEATURES or (theirs[name] == name and path.suffix != ".mat") else _labels(array)
        for name, array in arrays.items()
    }


def _labels(array: Tensor) -> Tensor:
    """A row of whole numbers, of what a script or MATLAB saved as labels; anything else as it is."""
    row = array.flatten() if array.numel() == max(array.shape, default=1) else array
    whole = row.is_floating_point() and bool((row == row.round()).all() and (row.abs() < LARGEST_EXACT).all())
    return row.long() if whole else row


def _tensor(value: Any, what: str) -> Tensor:
    """Raises ValueError naming `what` for anything but plain real numbers."""
    if isinstance(value, list):
        try:
            value = torch.tensor(value)
        except (OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{what} must hold plain real numbers: {first_line(error)}") from None
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise ValueError(f"{what} must hold plain real numbers, not {value.dtype}; give each name a number")
        value = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="), copy=False)))
    if not isinstance(value, Tensor):
        raise ValueError(f"{what} must be an array, not a {type(value).__name__}")
    if value.is_quantized or value.is_complex() or value.is_meta or value.layout != torch.strided:
        raise ValueError(f"{what} must hold plain real numbers, not {value.dtype} ({value.layout})")
    return value


def _check_memory(path: Path, claimed: Iterable[int]) -> None:
    """Raises ValueError when arrays of so many bytes do not fit into the memory that is free."""
    if (needed := sum(claimed)) > (spare := spare_bytes()):
        raise ValueError(
            f"{path} must hold arrays that fit into memory: they take {needed / 2**30:.1f} GiB, this machine has "
            f"{spare / 2**30:.1f} free"
        )


@contextmanager
def _blamed_on(path: Path, kind: str) -> Iterator[None]:
    """What a reader stumbles over is the file's fault: ValueError, one line that names it."""
    try:
        yield
    except MemoryError as error:
        raise ValueError(f"{path} must hold arrays that fit into memory: {first_line(error)}") from None
    except Exception as error:  # damaged files make the readers of numpy, zip and MATLAB raise nearly every type
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} must be {kind} file of plain number arrays: {first_line(error)}") from error


def _of_numpy(path: Path) -> Mapping[str, Any]:
    with _blamed_on(path, "an .npz"):
        with ZipFile(path) as packed:
            parts = {part.filename.removesuffix(".npy"): part.file_size for part in packed.infolist()}
        wanted = [name for name in parts if name in KNOWN]
        _check_memory(path, (parts[name] for name in wanted))
        with np.load(path, allow_pickle=False) as file:
            return dict.fromkeys(parts) | {name: file[name] for name in wanted}


def _of_matlab(path: Path) -> Mapping[str, Any]:
    from scipy.io import loadmat, whosmat

    try:
        with _blamed_on(path, "a .mat"):
            sizes = {name: math.prod(shape) * MATLAB_BYTES.get(kind, 8) for name, shape, kind in whosmat(path)}
            _check_memory(path, (size for name, size in sizes.items() if name in KNOWN))
            found = loadmat(path, variable_names=[*KNOWN])
            return dict.fromkeys(sizes) | {name: value for name, value in found.items() if name in KNOWN}
    except ValueError as error:
        if isinstance(error.__cause__, NotImplementedError):
            raise ValueError(f"{path} is of MATLAB's version 7.3: save it with -v7, or as .npz") from None
        raise


KNOWN = frozenset([*NAMES, *(name for theirs in NAMES.values() for name in theirs)])
READERS = {
    ".npz": _of_numpy,
    ".mat": _of_matlab,
    ".pt": load_state,
    ".pth": load_state,
    ".safetensors": lambda path: load_weights(path)[0],
}
