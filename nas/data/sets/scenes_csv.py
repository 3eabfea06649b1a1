"""A user's own scenes for person search, listed in one CSV file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas.data.images import Files
from nas.data.scenes import SceneData, SceneSource, SceneSplit, SearchQueries
from nas.data.sets.boxes import FLAT, Frame, corners, frame_of
from nas.data.sets.lists import check_listed
from nas.data.sets.table_file import NONE, checked, numbered, rows_of

COLUMNS = ("path", "identity", "camera", "split", "x", "y", "w", "h")
BOX = ("x", "y", "w", "h")
SPLITS = ("train", "gallery", "query")
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?"


class Row(NamedTuple):
    """A line of the file. box: x, y, w, h; empty for a frame without persons."""

    line: int
    path: str
    identity: int
    camera: int
    split: str
    box: tuple[float, ...]


def pixels(file: Path, line: int, row: Mapping[str, str]) -> tuple[float, ...]:
    """x, y, w, h of a row. Raises ValueError naming the line where one is no number."""
    for name in BOX:
        if not re.fullmatch(NUMBER, row[name], re.ASCII):
            raise ValueError(f'{file}, line {line}: {name} must be a number of pixels; got "{row[name]}"')
    return tuple(float(row[name]) for name in BOX)


Frames = dict[str, list[Row]]
"""The rows of each frame, by its path."""


@dataclass(frozen=True, kw_only=True)
class SceneList(SceneSource):
    """A CSV file in UTF-8 with a header and the columns `path,identity,camera,split,x,y,w,h`, a row for each box.

    The header's names may be in upper case and in any order, and commas, semicolons or tabs separate the columns.

    path: of the frame, relative to the CSV's folder, always written in the same way. identity, camera: whole numbers or
    any names, which become the numbers 0, 1, ... in sorted order. An identity below 0 is a person without identity, a
    camera below 0 an unknown one, which no query's frame has. camera: may be left out as a column.
    split: train, gallery or query. A frame is either in train or in gallery. A query is a further row for a box that
    gallery has too; its person is looked for in all other gallery frames, and is not in train.
    x, y, w, h: the box's left, top, width and height in pixels, fractions allowed. A frame without persons has one row,
    with an empty identity and an empty box.

    Images with an orientation tag (EXIF) are turned upright; boxes are those of the upright image.
    """

    file: Path
    """CSV file with a row for each box: path, identity, camera (may be missing), split, x, y, w and h."""

    def listed(self) -> SceneData:
        file = Path(self.file)
        rows = rows_in(file)
        frames = {split: frames_of(rows, split) for split in SPLITS}
        check_frames(file, frames)
        everything = frames["query"] | frames["gallery"] | frames["train"]
        check_listed(
            str(file),
            [f"line {first[0].line}" for first in everything.values()],
            [file.parent / path for path in everything],
        )
        train, flat_train = split_of(file, frames["train"])
        test, flat_test = split_of(file, frames["gallery"])
        return SceneData(
            name=file.name,
            train=train,
            test=test,
            queries=queries_of(file, frames),
            remarks={FLAT: flat_train + flat_test},
        )


def rows_in(file: Path) -> list[Row]:
    """The rows of `file`, in its order. Raises ValueError naming a line that is wrong."""
    rows = []
    for line, row in rows_of(file, COLUMNS):
        is_empty = row["split"] != "query" and not any(row[name] for name in ("identity", *BOX))
        needed = ("path", "split", "camera", *(() if is_empty else ("identity", *BOX)))
        rows.append((line, checked(file, line, row, needed, SPLITS)))
        if not is_empty:
            pixels(file, line, row)
    ids = numbered([row["identity"] or NONE for _, row in rows]).tolist()
    cameras = numbered([row.get("camera", NONE) for _, row in rows]).tolist()
    return [
        Row(line, row["path"], identity, camera, row["split"], tuple(float(row[name]) for name in BOX if row[name]))
        for (line, row), identity, camera in zip(rows, ids, cameras, strict=True)
    ]


def frames_of(rows: Sequence[Row], split: str) -> Frames:
    """The rows of each frame of a split, in the order in which the frames come up."""
    frames: Frames = {}
    for row in rows:
        if row.split == split:
            frames.setdefault(row.path, []).append(row)
    return frames


def check_frames(file: Path, frames: dict[str, Frames]) -> None:
    """Raises ValueError naming the lines where a frame is in training and in the test, has two cameras, or has a row
    twice."""
    for path in frames["train"].keys() & {*frames["gallery"], *frames["query"]}:
        others = [row.line for split in ("gallery", "query") for row in frames[split].get(path, [])]
        raise ValueError(
            f"{file}: a frame is either in train or in gallery and query, but {path} is in both "
            f"(lines {frames['train'][path][0].line} and {others[0]})"
        )
    for of_split in frames.values():
        for path, rows in of_split.items():
            seen: dict[tuple, int] = {}
            for row in rows:
                if row.camera != rows[0].camera:
                    raise ValueError(f"{file}, line {row.line}: a frame has one camera, but {path} has another on line "
                                     f"{rows[0].line}")  # fmt: skip
                if (first := seen.setdefault((row.identity, row.box), row.line)) != row.line:
                    raise ValueError(f"{file}, line {row.line}: this box is listed already, on line {first}")


def split_of(file: Path, frames: Frames) -> tuple[SceneSplit, tuple[str, ...]]:
    """The frames of a split, and the boxes that are none."""
    found = [frame_in(file, rows) for rows in frames.values()]
    cameras = np.array([rows[0].camera for rows in frames.values()], dtype=np.int64)
    split = SceneSplit(
        images=Files(tuple(file.parent / path for path in frames), upright=True),
        boxes=tuple(frame.boxes for frame in found),
        ids=tuple(frame.ids for frame in found),
        cameras=None if (cameras < 0).all() else cameras,
    )
    return split, tuple(case for frame in found for case in frame.flat)


def frame_in(file: Path, rows: Sequence[Row]) -> Frame:
    boxed = [row for row in rows if row.box]
    return frame_of(f"{file}, line {rows[0].line}", [row.identity for row in boxed], [row.box for row in boxed])


def queries_of(file: Path, frames: dict[str, Frames]) -> SearchQueries:
    """The queries among the gallery frames. Raises ValueError naming the line of one that gallery does not have."""
    place_of = {path: place for place, path in enumerate(frames["gallery"])}
    queries = sorted((row for rows in frames["query"].values() for row in rows), key=lambda row: row.line)
    for row in queries:
        same = [one.identity for one in frames["gallery"].get(row.path, []) if one.box == row.box]
        if row.identity < 0 or row.identity not in same or min(row.box[2:]) <= 0:
            raise ValueError(
                f"{file}, line {row.line}: a query needs an identity and a box with a width and a height, and a row of "
                f"gallery with the same frame, identity and box; {row.path} has none with the box {row.box}"
            )
    return SearchQueries(
        frames=np.array([place_of[row.path] for row in queries], dtype=np.int64),
        boxes=corners(np.array([row.box for row in queries])),
        ids=np.array([row.identity for row in queries], dtype=np.int64),
    )
