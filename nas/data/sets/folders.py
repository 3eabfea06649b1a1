"""Folders of images whose names tell identity and camera: the layout of Market-1501, and what others share with it."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nas.data.base import JUNK, ReIDData, Split
from nas.data.checks import listing
from nas.data.images import Files, image_suffixes

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
LEFT_BY_FILE_MANAGERS = {"thumbs.db", "desktop.ini"}
MARKET_NAME = r"(-?\d{1,18})_[cC](\d{1,18})(?!\d)"  # whole numbers, which int64 holds


def inner(root: Path, *names: str) -> Path:
    """The first folder of these names in `root`, or `root` itself where none is: a user may name either."""
    return next((root / name for name in names if (root / name).is_dir()), Path(root))


def market_layout(root: Path, name: str, example: str) -> ReIDData:
    """The three folders of Market-1501 in `root`; `example` is a file's name in this data set."""
    splits: dict[str, Any] = {}
    left_out: list[Path] = []
    for split, folder in FOLDERS.items():
        check_there(root / folder, name, FOLDERS.values())
        images, others = images_in(root / folder, name)
        splits[split] = named(images, MARKET_NAME, name, example)
        left_out += others
    return ReIDData(name=name, **splits, left_out=tuple(left_out))


def check_there(path: Path, name: str, needed: Iterable[str]) -> None:
    """Raises ValueError saying what the data set `name` needs and what is there instead, when `path` is missing."""
    if path.exists():
        return
    if not path.parent.is_dir():
        there = f'"{path.parent}" does not exist. Give the data set\'s folder, or the folder that contains it'
    else:
        names = sorted(other.name + "/" * other.is_dir() for other in path.parent.iterdir())
        there = f'"{path.parent}" contains {listing(names) if names else "nothing"}'
    raise ValueError(f'{name} needs {", ".join(needed)}, but "{path.name}" is missing: {there}')


def images_in(folder: Path, name: str, deep: bool = False) -> tuple[list[Path], list[Path]]:
    """The images of a folder, and what else lies there (see `entries`), both in the order of their names.

    What ends as a format that Pillow decodes is an image. Raises ValueError when there is none.
    """
    found = sorted(entries(folder, name, deep))
    images = [path for path in found if path.suffix.lower() in image_suffixes()]
    others = [path for path in found if path.suffix.lower() not in image_suffixes()]
    if not images:
        there = f"it has {listing([path.name for path in others])}" if others else "it is empty"
        raise ValueError(f'{name}: the folder "{folder}" contains no image that Pillow decodes: {there}')
    return images, others


def entries(folder: Path, name: str, deep: bool) -> Iterator[Path]:
    """What lies in `folder`, without hidden files (their names start with a dot) and those that file managers leave.

    deep: goes into its folders as well, and into those that links lead to, each once.
    """

    def fail(error: OSError) -> NoReturn:
        raise ValueError(f'{name}: the folder "{error.filename}" must be one to read, but: {error.strerror}') from error

    entered = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        names = [one for one in (files if deep else files + folders) if one.lower() not in LEFT_BY_FILE_MANAGERS]
        yield from (Path(place, one) for one in names if not one.startswith("."))
        below = {os.path.realpath(Path(place, one)): one for one in sorted(folders, reverse=True) if one[0] != "."}
        folders[:] = sorted(one for real, one in below.items() if deep and real not in entered)
        entered |= below.keys()


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
