"""CUHK03: Li et al., "DeepReID", CVPR 2014, with the new protocol (NP) of Zhong et al., "Re-ranking Person
Re-identification with k-reciprocal Encoding", CVPR 2017."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nas.data.base import ReIDData
from nas.data.sets.converted import cache_folder, converted
from nas.data.sets.cuhk03_mat import VERSION, convert
from nas.data.sets.folders import FOLDERS, check_there, inner, market_layout
from nas.data.source import DataSource

NUM_IMAGES = {"labeled": (7_368, 1_400, 5_328), "detected": (7_365, 1_400, 5_332)}
"""Of training, query and gallery."""


@dataclass(frozen=True, kw_only=True)
class CUHK03(DataSource):
    """CUHK03-NP, with hand-drawn ("labeled") or detected boxes, in one of two layouts. For academic research only.

    Folders: labeled and detected, each with bounding_box_train, query and bounding_box_test; file names are such as
    0001_c1_1.png (identity 1, camera 1).
    Original files: cuhk-03.mat (also in a folder cuhk03_release) and cuhk03_new_protocol_config_labeled.mat or
    ..._detected.mat. Their images are once written as PNG files to a folder in `cache`.

    Both have 767 training and 700 test identities and two cameras; labelled boxes 7,368 training images, 1,400 queries
    and 5,328 gallery images, detected ones 7,365, 1,400 and 5,332. Its cameras are numbered within a pair of them: the
    images of one identity all come from one pair.
    """

    root: Path
    """Folder CUHK03-NP, or the one that contains it; or the folder of the original files."""
    boxes: Literal["labeled", "detected"] = "detected"
    """Which boxes the images are cut from: labeled (drawn by hand) or detected."""
    cache: Path | None = None
    """Folder for the images of the original files, written there once as PNG; None: `nas-reid` in XDG_CACHE_HOME or
    ~/.cache."""

    def listed(self) -> ReIDData:
        root = inner(self.root, "CUHK03-NP", "cuhk03-np")
        folder = root / self.boxes
        if not (folder / FOLDERS["train"]).is_dir():
            folder = self._converted(root)
        return market_layout(folder, f"CUHK03-NP, {self.boxes}", "0001_c1_1.png")

    def published(self) -> dict[str, int]:
        train, query, gallery = NUM_IMAGES[self.boxes]
        return {
            "train_images": train, "train_identities": 767, "query_images": query, "query_identities": 700,
            "gallery_images": gallery, "gallery_identities": 700, "cameras": 2,
        }  # fmt: skip

    def _converted(self, root: Path) -> Path:
        """The folder made of the original files in `root`."""
        config = f"cuhk03_new_protocol_config_{self.boxes}.mat"
        released = root / "cuhk03_release"
        sources = [released / name if (released / name).is_file() else root / name for name in ("cuhk-03.mat", config)]
        needed = (f"the folder {self.boxes}/{FOLDERS['train']} and its neighbours", "or cuhk-03.mat", f"and {config}")
        for source in sources:
            check_there(source, "CUHK03-NP", needed)
        place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
        folder = cache_folder(self.cache) / f"cuhk03-np-{self.boxes}-{place}"
        return converted(folder, sources, VERSION, partial(convert, sources[0], sources[1], self.boxes))
