"""PRW: Zheng et al., "Person Re-identification in the Wild", CVPR 2017; PRW-mini: Munjal et al., 2019."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nas.data.checks import listing
from nas.data.images import Files
from nas.data.scenes import SceneData, SceneSource, SceneSplit, SearchQueries
from nas.data.sets.boxes import FLAT, corners, frame_of
from nas.data.sets.folders import check_there, inner
from nas.data.sets.lists import parsed_lines
from nas.data.sets.mat_file import read_mat, text_in

KEYS = ("box_new", "anno_file", "anno_previous")
"""What an annotation file may call its boxes, the first that is there counts."""
NAME = r"[cC](\d{1,18})[sS]\d+_\d+"
NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d{1,2})?)"
QUERY = r"(\d{1,18})" + 4 * (r"\s+" + NUMBER) + r"\s+(\S+?)(?:\.jpg)?"


@dataclass(frozen=True, kw_only=True)
class PRW(SceneSource):
    """PRW in its official layout: the folders frames and annotations, frame_train.mat, frame_test.mat and
    query_info.txt. For academic research only.

    The full set has 5,704 training frames with 18,048 boxes of 483 identities, and 6,112 test frames with 25,062 boxes
    of 544, 94 of which are trained on too; 2,057 queries of 450 others; six cameras. A query looks for its person in
    all other test frames. Persons whose number is -2 have no identity. Ten training and three test frames have the same
    identity twice, and both boxes count.
    """

    title: ClassVar[str] = "PRW"
    PUBLISHED: ClassVar[dict[str, int]] = {
        "train_frames": 5_704, "train_boxes": 18_048, "train_identities": 483, "test_frames": 6_112,
        "test_boxes": 25_062, "test_identities": 544, "shared_identities": 94, "queries": 2_057,
        "query_identities": 450, "cameras": 6,
    }  # fmt: skip

    root: Path
    """Folder PRW-v16.04.20, or the one that contains it."""

    def listed(self) -> SceneData:
        root, queries = inner(self.root, "PRW-v16.04.20", "PRW"), self._query_file()
        for name in needed(queries):
            check_there(root / name, self.title, needed(queries))
        names = {part: names_in(root / f"frame_{part}.mat", f"img_index_{part}") for part in ("train", "test")}
        if both := sorted(set(names["train"]) & set(names["test"])):
            raise ValueError(f"{root}: a frame is either in training or in the test, but both have {listing(both)}")
        train, flat_train = split_of(root, names["train"])
        test, flat_test = split_of(root, names["test"])
        return SceneData(
            name=self.title,
            train=train,
            test=test,
            queries=queries_in(root / queries, names["test"]),
            remarks={FLAT: flat_train + flat_test},
        )

    def _query_file(self) -> str:
        return "query_info.txt"


@dataclass(frozen=True, kw_only=True)
class PRWMini(PRW):
    """PRW with the 30 queries of PRW-mini, in PRW's layout and prwmini_query_info.txt beside its query_info.txt."""

    title: ClassVar[str] = "PRW-mini"
    PUBLISHED: ClassVar[dict[str, int]] = PRW.PUBLISHED | {"queries": 30, "query_identities": 30}

    def _query_file(self) -> str:
        return "prwmini_query_info.txt"


def needed(queries: str) -> tuple[str, ...]:
    return "frames", "annotations", "frame_train.mat", "frame_test.mat", queries


def names_in(file: Path, key: str) -> list[str]:
    """The names of frames that `file` lists, without an ending, in its order. Raises ValueError naming the file."""
    names = [text_in(cell).removesuffix(".jpg") for cell in np.ravel(read_mat(file, key)[key])]
    if strangers := [name for name in names if not re.fullmatch(NAME, name, re.ASCII)]:
        raise ValueError(f'{file}: {key} must have names such as c1s1_001051, not "{listing(strangers)}"')
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise ValueError(f"{file}: {key} must list a frame once, but lists again {listing(twice)}")
    return names


def split_of(root: Path, names: Sequence[str]) -> tuple[SceneSplit, tuple[str, ...]]:
    """The frames of these names, and the boxes that are none. Raises ValueError naming what is missing."""
    images = [root / "frames" / f"{name}.jpg" for name in names]
    annotations = [root / "annotations" / f"{name}.jpg.mat" for name in names]
    if missing := [path for path in [*images, *annotations] if not path.is_file()]:
        raise ValueError(
            f"{root}: every frame that is listed needs an image and an annotation; missing: {listing(missing)}"
        )
    frames = [frame_of(file, table[:, 0], table[:, 1:]) for file in annotations for table in [table_in(file)]]
    split = SceneSplit(
        images=Files(tuple(images)),
        boxes=tuple(frame.boxes for frame in frames),
        ids=tuple(frame.ids for frame in frames),
        cameras=np.array([camera_of(name) for name in names], dtype=np.int64),
    )
    return split, tuple(case for frame in frames for case in frame.flat)


def table_in(file: Path) -> np.ndarray:
    """The rows id, x, y, w, h of an annotation, [N, 5]; none for a frame without persons."""
    content = read_mat(file, *KEYS)
    key = next(name for name in KEYS if name in content)
    table = content[key]
    if table.size == 0:
        return np.empty((0, 5))
    if table.ndim != 2 or table.shape[1] != 5 or table.dtype.kind not in "fiu":
        raise ValueError(f"{file}: {key} must have rows of five numbers, id x y w h; it has {table.shape}")
    return table


def camera_of(name: str) -> int:
    match = re.match(NAME, name, re.ASCII)
    assert match, "names_in lets only such names through"
    return int(match[1])


def queries_in(file: Path, names: Sequence[str]) -> SearchQueries:
    """The queries that `file` lists, in lines of identity, x, y, width, height and frame, among the test frames of
    these names."""
    place_of = {name: place for place, name in enumerate(names)}
    lines = parsed_lines(file, QUERY, "479 784.0000 414.0000 54.0000 117.0000 c3s1_000501")
    if missing := [f"{match[6]} ({place})" for place, match in lines if match[6] not in place_of]:
        raise ValueError(
            f"{file}: the frame of every query must be a test frame, but these are none: {listing(missing)}"
        )
    boxes = np.array([[float(number) for number in match.groups()[1:5]] for _, match in lines])
    if flat := [place for (place, _), box in zip(lines, boxes, strict=True) if min(box[2:]) <= 0]:
        raise ValueError(
            f"{file}: the box of a query must have a width and a height above 0; not so in {listing(flat)}"
        )
    return SearchQueries(
        frames=np.array([place_of[match[6]] for _, match in lines], dtype=np.int64),
        boxes=corners(boxes),
        ids=np.array([int(match[1]) for _, match in lines], dtype=np.int64),
    )
