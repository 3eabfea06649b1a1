"""VehicleID: Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nas.data.base import ReIDData, Split
from nas.data.images import Files
from nas.data.sets.folders import check_there, inner
from nas.data.sets.lists import check_listed, parsed_lines
from nas.data.source import DataSource
from nas.system.config import OF_TEST
from search_spaces.ranges import Count, Seed

TRAIN = "train_test_split/train_list.txt"


@dataclass(frozen=True, kw_only=True)
class VehicleID(DataSource):
    """VehicleID: the folder image, and train_test_split with train_list.txt and test_list_800.txt, _1600 and _2400.
    A line is an image's name without suffix and its vehicle, as in `0000001 12`. There are no cameras. For research
    only, by an agreement with its authors.

    Of each test vehicle one random image is the gallery and all others are queries, drawn anew in each repeat
    (ReIDData.partitions). The paper's sentence says the reverse, its numbers of images do not.

    The full set has 13,164 training vehicles and `test_size` test vehicles. Numbers of images differ between sources,
    so they are not checked.
    """

    subject: ClassVar = "vehicles"

    root: Path
    """Folder VehicleID_V1.0, or the one that contains it."""
    test_size: Literal[800, 1600, 2400] = field(default=800, metadata=OF_TEST)
    """Number of test vehicles: the paper's small (800), medium (1600) or large (2400) test set."""
    repeats: Count = field(default=10, metadata=OF_TEST)
    """How many times query and gallery are drawn; the mean over them is reported."""
    single: Literal["gallery", "query"] = field(default="gallery", metadata=OF_TEST)
    """Where the one random image of each vehicle goes; `query` is the paper's sentence to the letter."""
    seed: Seed = field(default=0, metadata=OF_TEST)
    """Seed of all draws of query and gallery."""

    def listed(self) -> ReIDData:
        root = inner(self.root, "VehicleID_V1.0")
        files = (TRAIN, f"train_test_split/test_list_{self.test_size}.txt")
        for place in ("image", "train_test_split", *files):
            check_there(root / place, "VehicleID", ("image", *files))
        parts = [parsed_lines(root / file, r"([^/]*\S)\s+(\d{1,9})", "0000001 12") for file in files]
        lines = [line for part in parts for line in part]
        paths = tuple(root / "image" / f"{match[1]}.jpg" for _, match in lines)
        check_listed("VehicleID", [place for place, _ in lines], paths)
        both = Split(images=Files(paths), ids=np.array([int(match[2]) for _, match in lines], dtype=np.int64))
        train, test = both.take(np.arange(len(parts[0]))), both.take(np.arange(len(parts[0]), len(both)))
        name = f"VehicleID, {self.test_size} vehicles"
        return self.partitioned(ReIDData(name=name, train=train, query=test, gallery=test.take(np.arange(0))))

    def partitioned(self, data: ReIDData) -> ReIDData:
        test = data.query.joined(data.gallery)
        test = test.take(np.array(sorted(range(len(test)), key=test.images.name), dtype=np.int64))
        rng = np.random.default_rng(self.seed)
        drawn = [divided(test.ids, rng, self.single) for _ in range(self.repeats)]
        place = np.argsort(np.concatenate(drawn[0]))
        return replace(
            data,
            query=test.take(drawn[0][0]),
            gallery=test.take(drawn[0][1]),
            partitions=tuple((place[query], place[gallery]) for query, gallery in drawn),
        )

    def published(self) -> dict[str, int]:
        return {"train_identities": 13_164, f"{self.single}_identities": self.test_size}


def divided(
    ids: np.ndarray, rng: np.random.Generator, single: Literal["gallery", "query"]
) -> tuple[np.ndarray, np.ndarray]:
    """The indices of queries and gallery, each in ascending order: one random image of each identity is `single`."""
    shuffled = rng.permutation(len(ids))
    one = np.sort(shuffled[np.unique(ids[shuffled], return_index=True)[1]])
    others = np.setdiff1d(np.arange(len(ids)), one)
    return (others, one) if single == "gallery" else (one, others)
