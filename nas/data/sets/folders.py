"""Folders of images whose names tell identity and camera: the layout of Market-1501, and what others share with it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.base import JUNK, ReIDData, Split
from nas.data.checks import listing
from nas.data.images import Files

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
MARKET_NAME = r"(-?\d{1,18})_[cC](\d{1,18})(?!\d)"  # whole numbers, which int64 holds


def inner(root: Path, *names: str) -> Path:
    """The first folder of these names in `root`, or `root` itself where none is: a user may name either."""
    return next((root / name for name in names if (root / name).is_dir()), Path(root))


def market_layout(root: Path, name: str, example: str) -> ReIDData:
    """The three folders of Market-1501 in `root`; `example` is a file's name in this data set."""
    splits: dict[str, Any] = {}
    for split, folder in FOLDERS.items():
        check_there(root / folder, name, FOLDERS.values())
        splits[split] = named(images_in(root / folder, name), MARKET_NAME, name, example)
    return ReIDData(name=name, **splits)


def check_there(path: Path, name: str, needed: Iterable[str]) -> None:
    """Raises ValueError saying what the data set `name` needs and what is there instead, when `path` is missing."""
    if path.exists():
        return
    if not path.parent.is_dir():
        there = f'"{path.parent}" does not exist'
    else:
        names = sorted(other.name + "/" * other.is_dir() for other in path.parent.iterdir())
        there = f'"{path.parent}" contains {listing(names) if names else "nothing"}'
    raise ValueError(f'{name} needs {", ".join(needed)}, but "{path.name}" is missing: {there}')


def images_in(folder: Path, name: str, pattern: str = "*") -> tuple[Path, ...]:
    """The images of a folder in the order of their names; `**/*` takes its folders' images too. Files whose names start
    with a dot, as file managers leave them, are no images."""
    found = (path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES)
    paths = tuple(sorted(path for path in found if not path.name.startswith(".")))
    if not paths:
        raise ValueError(f'{name}: the folder "{folder}" contains no image ({", ".join(sorted(SUFFIXES))})')
    return paths


def named(paths: Sequence[Path], pattern: str, name: str, example: str) -> Split:
    """The images with identity and camera, the two numbers that `pattern` finds at the start of each file name.

    An identity below 0 is junk, -1.
    """
    parsed = [re.match(pattern, path.name, re.ASCII) for path in paths]
    if strangers := [path for path, match in zip(paths, parsed, strict=True) if match is None]:
        raise ValueError(
            f"{name}: file names start with identity and camera, numbers of at most 18 digits, as in {example}; "
            f"remove or rename {listing(strangers)}"
        )
    ids, cameras = np.array([[int(number) for number in match.groups()] for match in parsed if match], dtype=np.int64).T
    return Split(images=Files(tuple(paths)), ids=np.maximum(ids, JUNK), cameras=cameras)
