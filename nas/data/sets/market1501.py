"""Market-1501: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nas.data.base import UNKNOWN, ReIDData, Split
from nas.data.images import Files
from nas.data.sets.folders import images_in, inner, market_layout
from nas.data.source import DataSource
from nas.system.config import OF_TEST

FOLDER = "Market-1501-v15.09.15"


@dataclass(frozen=True, kw_only=True)
class Market1501(DataSource):
    """Market-1501 in its official layout: the folders bounding_box_train, query and bounding_box_test, file names such
    as 0002_c1s1_000451_03.jpg (identity 2, camera 1). For academic research only.

    The full set has 12,936 training images of 751 identities, 3,368 queries of 750, and 19,732 gallery images of six
    cameras, of which 3,819 are junk (identity -1) and 2,798 distractors (identity 0, counted as a 751st).

    Further distractors join the gallery as identity 0. Their file names are arbitrary and tell no camera, so theirs is
    -1, which is no query's. Their exact number is not published, so that of the gallery is then not checked.
    """

    root: Path
    """Folder Market-1501-v15.09.15, or the one that contains it."""
    distractors: Path | None = field(default=None, metadata=OF_TEST)
    """Folder of the 500,000 further distractors, which join the gallery; None: without them."""

    def listed(self) -> ReIDData:
        data = market_layout(inner(self.root, FOLDER), "Market-1501", "0002_c1s1_000451_03.jpg")
        if self.distractors is None:
            return data
        further, others = distractors_in(self.distractors)
        gallery, left_out = data.gallery.joined(further), (*data.left_out, *others)
        return replace(data, name="Market-1501+500k", gallery=gallery, left_out=left_out)

    def published(self) -> dict[str, int]:
        counts = {
            "train_images": 12_936, "train_identities": 751, "query_images": 3_368, "query_identities": 750,
            "gallery_identities": 751, "gallery_junk": 3_819, "cameras": 6,
        }  # fmt: skip
        return counts if self.distractors else counts | {"gallery_images": 19_732, "gallery_distractors": 2_798}


def distractors_in(folder: Path) -> tuple[Split, list[Path]]:
    """All images in `folder` and its folders, as identity 0 of an unknown camera; and what else lies there."""
    if not Path(folder).is_dir():
        raise ValueError(f'Market-1501: distractors must be the folder of their images; "{folder}" is none')
    paths, others = images_in(Path(folder), "Market-1501's distractors", deep=True)
    ids, cameras = np.zeros(len(paths), dtype=np.int64), np.full(len(paths), UNKNOWN)
    return Split(images=Files(tuple(paths)), ids=ids, cameras=cameras), others
