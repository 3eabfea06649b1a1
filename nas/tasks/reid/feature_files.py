"""Files of retrieval features that somebody saved, by whatever script: their arrays, read without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from nas.errors import first_line, quoted
from nas.system.files import not_a_file
from nas.system.matlab import read_matlab
from nas.system.memory import check_memory
from nas.system.weights import is_plain, load_state, load_weights

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


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays `NEEDED` and `CAMERAS`, as far as the file has them, by these names; others are not looked at.

    Of scripts' and MATLAB's files rows of labels may be `[1, N]` or real. Raises ValueError naming the file when it is
    missing or damaged, and the array that is missing, holds no plain real numbers or does not fit into memory.
    """
    if why := not_a_file(path):
        raise ValueError(f"the features file {path} {why}")
    found = READERS[path.suffix](path)
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} must hold arrays by name, not a {type(found).__name__}")
    theirs = {name: next((each for each in (name, *others) if each in found), "") for name, others in NAMES.items()}
    if missing := [name for name in NEEDED if not theirs[name]]:
        raise ValueError(
            f"{path} must hold the arrays {', '.join(NEEDED)} (and {', '.join(CAMERAS)}); it lacks "
            f"{', '.join(missing)} and holds {quoted(sorted(map(str, found)), most=20)}"
        )
    arrays = {name: _tensor(found[their], f"{path}: {their}") for name, their in theirs.items() if their}
    check_memory(path, (4 * array.numel() for array in arrays.values()))
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
    if not is_plain(value):
        raise ValueError(f"{what} must hold plain real numbers, not {value.dtype} ({value.layout})")
    return value


def _of_numpy(path: Path) -> Mapping[str, Any]:
    try:
        with ZipFile(path) as packed:
            sizes = {part.filename.removesuffix(".npy"): part.file_size for part in packed.infolist()}
    except Exception as error:  # damaged files make the readers of zip and numpy raise nearly every type
        raise ValueError(f"{path} must be an .npz file: {first_line(error)}") from error
    wanted = [name for name in sizes if name in KNOWN]
    check_memory(path, (sizes[name] for name in wanted))
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict.fromkeys(sizes) | {name: file[name] for name in wanted}
    except Exception as error:
        raise ValueError(f"{path} must be an .npz file of plain number arrays: {first_line(error)}") from error


KNOWN = frozenset([*NAMES, *(name for theirs in NAMES.values() for name in theirs)])
READERS = {
    ".npz": _of_numpy,
    ".mat": lambda path: read_matlab(path, KNOWN),
    ".pt": load_state,
    ".pth": load_state,
    ".safetensors": lambda path: load_weights(path)[0],
}
