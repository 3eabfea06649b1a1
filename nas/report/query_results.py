"""What each query found, as a table file: what comparisons and plots of single queries are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nas.system.csv_text import csv_rows, csv_text
from nas.system.files import write_text

COLUMNS = ("query", "identity", "camera", "average_precision", "first_match_rank")
IN_FRAMES = ("query", "box", "identity", "camera", "average_precision", "first_match_rank")
"""The columns where a query is a box in a frame."""
DIGITS = 2
"""Behind the point of a box's corners, which are pixels."""

Box = tuple[float, float, float, float]
Cell = str | float | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A gallery image that a query found."""

    COLUMNS: ClassVar = ("file", "identity", "camera", "distance")
    """What a table has of each, the nearest first: `found1_file` and so on. The last is empty where there is none."""

    name: str
    identity: int
    camera: int | None
    distance: float

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.name, self.identity, self.camera, self.distance)

    @classmethod
    def of_cells(cls, name: str, identity: str, camera: str, distance: str) -> Found:
        """Raises ValueError for what is no number."""
        return cls(name=name, identity=int(identity), camera=_camera(camera), distance=float(distance))


@dataclass(frozen=True, kw_only=True)
class FoundBox:
    """The nearest box of a frame that a query found, in the frame's pixels, and whether it is that of the person."""

    COLUMNS: ClassVar = ("file", "box", "camera", "right", "similarity")

    name: str
    box: Box
    camera: int | None
    right: bool
    similarity: float
    """The cosine of the two features."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.name, corners(self.box), self.camera, int(self.right), self.similarity)

    @classmethod
    def of_cells(cls, name: str, box: str, camera: str, right: str, similarity: str) -> FoundBox:
        """Raises ValueError for what is no number."""
        return cls(
            name=name,
            box=_box(box),
            camera=_camera(camera),
            right=bool(int(right)),
            similarity=float(similarity),
        )


def corners(box: Sequence[float]) -> str:
    """A box `(x1, y1, x2, y2)` as a cell."""
    return " ".join(f"{round(value, DIGITS):g}" for value in box)


def _box(text: str) -> Box:
    x1, y1, x2, y2 = map(float, text.split())
    return x1, y1, x2, y2


def _camera(text: str) -> int | None:
    return int(text) if text else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """The queries of one evaluation: names, identities [Q], cameras [Q] or none, average precisions [Q] (nan: skipped)
    and 1-based ranks of the first match [Q] (0: skipped, or nothing right was found); and what was found for each."""

    names: tuple[str, ...]
    ids: np.ndarray
    cameras: np.ndarray | None
    average_precision: np.ndarray
    first_match_rank: np.ndarray
    boxes: tuple[Box, ...] | None = None
    """Where a query is a box in a frame, whose file `names` has."""
    found: tuple[tuple[Found | FoundBox, ...], ...] = ()
    """For each query, the nearest first; boxes where queries are boxes. Empty in files of earlier versions."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells the queries apart."""
        if self.boxes is None:
            return self.names
        return tuple(f"{name} at {corners(box)}" for name, box in zip(self.names, self.boxes, strict=True))

    def save(self, path: Path) -> Path:
        """Writes a CSV file in UTF-8 with the columns `COLUMNS`, or `IN_FRAMES`, and those of what was found; a skipped
        query has no average precision.

        Bytes of a name that are no UTF-8, as files may have them, are written with a backslash.
        """
        cameras = [None] * len(self.names) if self.cameras is None else self.cameras.tolist()
        precisions = [None if np.isnan(value) else value for value in self.average_precision.tolist()]
        found = self.found or [()] * len(self.names)
        most = max(map(len, found), default=0)
        where = () if self.boxes is None else (map(corners, self.boxes),)
        columns = zip(
            self.names, *where, self.ids.tolist(), cameras, precisions, self.first_match_rank.tolist(), strict=True
        )
        header = _header(in_frames=self.boxes is not None, most=most)
        rows = [
            [*row, *(cell for each in some for cell in each.cells)] for row, some in zip(columns, found, strict=True)
        ]
        text = csv_text([header, *(row + [None] * (len(header) - len(row)) for row in rows)])
        return write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Queries:
        """Raises ValueError naming the file, and the line, that is not as `save` writes it."""
        if not path.is_file():
            raise ValueError(f"the file of single queries {path} does not exist: `nas evaluate` writes it")
        with path.open(encoding="utf-8", newline="") as text:
            header, *rows = csv_rows(text.read()) or [[]]
        in_frames = header[1:2] == ["box"]
        first, kind = _kind(in_frames)
        most = max(0, len(header) - len(first)) // len(kind.COLUMNS)
        if header != _header(in_frames, most):
            raise ValueError(f"{path}, line 1: the columns must be {','.join(first)}, not {','.join(header) or 'none'}")
        try:
            if wrong := next((len(row) for row in rows if len(row) != len(header)), None):
                raise ValueError(f"a row has {wrong}")
            columns = dict(zip(first, zip(*(row[: len(first)] for row in rows), strict=True), strict=True))
            return cls(
                names=columns["query"],
                ids=np.array(columns["identity"], dtype=np.int64),
                cameras=None if "" in columns["camera"] else np.array(columns["camera"], dtype=np.int64),
                average_precision=np.array(
                    [value or "nan" for value in columns["average_precision"]], dtype=np.float64
                ),
                first_match_rank=np.array(columns["first_match_rank"], dtype=np.int64),
                boxes=tuple(map(_box, columns["box"])) if in_frames else None,
                found=tuple(tuple(_found(row[len(first) :], kind)) for row in rows) if most else (),
            )
        except ValueError as error:
            raise ValueError(f"{path} must hold {len(header)} columns of numbers after the names: {error}") from None


def _kind(in_frames: bool) -> tuple[tuple[str, ...], type[Found] | type[FoundBox]]:
    return (IN_FRAMES, FoundBox) if in_frames else (COLUMNS, Found)


def _header(in_frames: bool, most: int) -> list[str]:
    first, kind = _kind(in_frames)
    return [*first, *(f"found{place}_{name}" for place in range(1, most + 1) for name in kind.COLUMNS)]


def _found(cells: Sequence[str], kind: type[Found] | type[FoundBox]) -> Iterator[Found | FoundBox]:
    """Raises ValueError for what is no number."""
    for each in zip(*(cells[start :: len(kind.COLUMNS)] for start in range(len(kind.COLUMNS))), strict=True):
        if each[-1]:
            yield kind.of_cells(*each)
