"""Market-1501 (Zheng et al., 2015), and any other data set in its layout of folders and file names."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.base import DataSource, Files, ReIDData, Split, listing

FOLDER = "Market-1501-v15.09.15"
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


@dataclass(frozen=True, kw_only=True)
class Market1501(DataSource):
    """Market-1501 in its official layout. `root` is the folder Market-1501-v15.09.15, or the one that contains it.

    The full set has 12,936 training images of 751 identities, 3,368 queries of 750, and 19,732 gallery images, of which
    3,819 are junk (identity -1) and 2,798 distractors (identity 0); `load().counts()` says what is there.
    """

    root: Path

    def listed(self) -> ReIDData:
        root = Path(self.root)
        if (root / FOLDER).is_dir():
            root = root / FOLDER
        return ReIDData(name="Market-1501", **{split: split_of(root / name) for split, name in FOLDERS.items()})


def split_of(folder: Path) -> Split:
    """The images of one folder in the order of their names, such as 0002_c1s1_000451_03.jpg: identity 2, camera 1."""
    if not folder.is_dir():
        raise ValueError(
            f'Market-1501 needs the folders {", ".join(FOLDERS.values())}, but "{folder.name}" is missing: '
            + found(folder)
        )
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f'Market-1501: the folder "{folder}" contains no image ({", ".join(sorted(SUFFIXES))})')
    parsed = [re.match(r"(-?\d+)_c(\d)", path.name) for path in paths]
    if strangers := [path for path, match in zip(paths, parsed) if match is None]:
        raise ValueError(
            f"Market-1501 file names start with identity and camera, as in 0002_c1s1_000451_03.jpg; "
            f"remove or rename {listing(strangers)}"
        )
    ids, cameras = np.array([[int(number) for number in match.groups()] for match in parsed], dtype=np.int64).T
    return Split(images=Files(tuple(paths)), ids=ids, cameras=cameras)


def found(folder: Path) -> str:
    """What is there instead of `folder`."""
    if not folder.parent.is_dir():
        return f'"{folder.parent}" does not exist'
    names = sorted(path.name + "/" * path.is_dir() for path in folder.parent.iterdir())
    return f'"{folder.parent}" contains {listing(names) if names else "nothing"}'
