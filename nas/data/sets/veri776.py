"""VeRi-776: Liu et al., "A Deep Learning-Based Approach to Progressive Vehicle Re-identification", ECCV 2016."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas.data.base import ReIDData, Split
from nas.data.images import Files
from nas.data.sets.folders import check_there, inner
from nas.data.sets.lists import check_listed, parsed_lines
from nas.data.source import DataSource

PLACES = {
    "train": ("image_train", "name_train.txt"),
    "query": ("image_query", "name_query.txt"),
    "gallery": ("image_test", "name_test.txt"),
}


@dataclass(frozen=True, kw_only=True)
class VeRi776(DataSource):
    """VeRi-776: the folders image_train, image_query and image_test, and name_train.txt, name_query.txt and
    name_test.txt, which list their images. File names are such as 0002_c002_00030600_0.jpg (vehicle 2, camera 2). For
    research only.

    The full set has 37,778 training images of 576 vehicles, 1,678 queries and 11,579 gallery images of 200, from 20
    cameras.
    """

    subject: ClassVar = "vehicles"

    PUBLISHED: ClassVar = {
        "train_images": 37_778, "train_identities": 576, "query_images": 1_678, "query_identities": 200,
        "gallery_images": 11_579, "gallery_identities": 200, "cameras": 20,
    }  # fmt: skip

    root: Path
    """Folder VeRi, or the one that contains it."""

    def listed(self) -> ReIDData:
        root = inner(self.root, "VeRi")
        splits: dict[str, Any] = {}
        needed = [place for places in PLACES.values() for place in places]
        for place in needed:
            check_there(root / place, "VeRi-776", needed)
        for split, (folder, file) in PLACES.items():
            lines = parsed_lines(root / file, r"(\d{1,9})_[cC](\d{1,9})_[^/]*", "0002_c002_00030600_0.jpg")
            paths = tuple(root / folder / match[0] for _, match in lines)
            check_listed("VeRi-776", [place for place, _ in lines], paths)
            ids, cameras = np.array([[int(match[1]), int(match[2])] for _, match in lines], dtype=np.int64).T
            splits[split] = Split(images=Files(paths), ids=ids, cameras=cameras)
        return ReIDData(name="VeRi-776", **splits)
