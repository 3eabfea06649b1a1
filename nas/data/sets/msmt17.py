"""MSMT17: Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from nas.data.base import ReIDData, Split
from nas.data.images import Files
from nas.data.sets.folders import check_there, inner
from nas.data.sets.lists import check_listed, parsed_lines
from nas.data.source import DataSource

VERSIONS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",), "gallery": ("list_gallery.txt",)}
LINE = r"((?:.*/)?[^/_]+_[^/_]+_0*([1-9]\d{0,8})_[^/]*?)\s+(\d{1,9})"
EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg 0"


@dataclass(frozen=True, kw_only=True)
class MSMT17(DataSource):
    """MSMT17, the original (V1: folders train and test) or with blurred faces (V2: mask_train_v2 and mask_test_v2),
    with list_train.txt, list_val.txt, list_query.txt and list_gallery.txt beside them. For academic research only, by
    an agreement with its authors.

    A line is an image's path and its identity, as in `0000/0000_000_01_0303morning_0008_0.jpg 0`; the third field of
    the file name less one is the camera. Training takes train and val. The lists number the test identities from 0
    again: here they go on after the last training identity.

    Both versions have 32,621 training images of 1,041 identities, 11,659 queries and 82,161 gallery images of 3,060,
    from 15 cameras.
    """

    PUBLISHED: ClassVar = {
        "train_images": 32_621, "train_identities": 1_041, "query_images": 11_659, "query_identities": 3_060,
        "gallery_images": 82_161, "gallery_identities": 3_060, "cameras": 15,
    }  # fmt: skip

    root: Path
    """Folder MSMT17_V1 or MSMT17_V2, or one that contains one of them."""

    def listed(self) -> ReIDData:
        root = Path(self.root)
        if all((root / name).is_dir() for name in VERSIONS):
            raise ValueError(f'MSMT17: "{root}" contains {" and ".join(VERSIONS)}; root must say which, as its path')
        root = inner(root, *VERSIONS)
        train_folder, test_folder = folders_in(root)
        train = listed_split(root, train_folder, LISTS["train"])
        query, gallery = (listed_split(root, test_folder, LISTS[name]) for name in ("query", "gallery"))
        first = int(train.ids.max()) + 1
        query, gallery = (replace(split, ids=split.ids + first) for split in (query, gallery))
        return ReIDData(name="MSMT17", train=train, query=query, gallery=gallery)


def folders_in(root: Path) -> tuple[Path, Path]:
    """The folders of training and of test images, by either version's names."""
    names = next((names for names in VERSIONS.values() if (root / names[0]).is_dir()), VERSIONS["MSMT17_V1"])
    needed = (*names, *(file for files in LISTS.values() for file in files))
    for name in needed:
        check_there(root / name, "MSMT17", needed)
    return root / names[0], root / names[1]


def listed_split(root: Path, folder: Path, files: tuple[str, ...]) -> Split:
    """The images of some lists one after the other, with the identities that the lists give."""
    lines = [line for file in files for line in parsed_lines(root / file, LINE, EXAMPLE)]
    paths = tuple(folder / match[1] for _, match in lines)
    check_listed("MSMT17", [place for place, _ in lines], paths)
    cameras, ids = np.array([[int(match[2]) - 1, int(match[3])] for _, match in lines], dtype=np.int64).T
    return Split(images=Files(paths), ids=ids, cameras=cameras)
