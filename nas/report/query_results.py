"""What each query found, as a table file: what comparisons and plots of single queries are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.system.csv_text import csv_rows, csv_text
from nas.system.files import write_text

COLUMNS = ("query", "identity", "camera", "average_precision", "first_match_rank")
FOUND = ("file", "identity", "camera", "distance")
"""What follows for each gallery image that was found, the nearest first: `found1_file` and so on."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A gallery image that a query found."""

    name: str
    identity: int
    camera: int | None
    distance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """The queries of one evaluation: names, identities [Q], cameras [Q] or none, average precisions [Q] (nan: skipped)
    and 1-based ranks of the first match [Q] (0: skipped); and the gallery images nearest to each."""

    names: tuple[str, ...]
    ids: np.ndarray
    cameras: np.ndarray | None
    average_precision: np.ndarray
    first_match_rank: np.ndarray
    found: tuple[tuple[Found, ...], ...] = ()
    """For each query, the nearest first; empty in files of earlier versions."""

    def save(self, path: Path) -> Path:
        """Writes a CSV file in UTF-8 with the columns `COLUMNS` and `FOUND`; a skipped query has no average precision.

        Bytes of a name that are no UTF-8, as files may have them, are written with a backslash.
        """
        cameras = [None] * len(self.names) if self.cameras is None else self.cameras.tolist()
        precisions = [None if np.isnan(value) else value for value in self.average_precision.tolist()]
        found = self.found or [()] * len(self.names)
        most = max(map(len, found), default=0)
        columns = zip(self.names, self.ids.tolist(), cameras, precisions, self.first_match_rank.tolist(), strict=True)
        rows = [[*row, *_cells(images, most)] for row, images in zip(columns, found, strict=True)]
        text = csv_text([(*COLUMNS, *_found_columns(most)), *rows])
        return write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Queries:
        """Raises ValueError naming the file, and the line, that is not as `save` writes it."""
        if not path.is_file():
            raise ValueError(f"the file of single queries {path} does not exist: `nas evaluate` writes it")
        with path.open(encoding="utf-8", newline="") as text:
            header, *rows = csv_rows(text.read()) or [[]]
        most, rest = divmod(len(header) - len(COLUMNS), len(FOUND))
        if rest or tuple(header) != (*COLUMNS, *_found_columns(most)):
            raise ValueError(
                f"{path}, line 1: the columns must be {','.join(COLUMNS)}, not {','.join(header) or 'none'}"
            )
        try:
            names, ids, cameras, precisions, ranks = zip(*(row[: len(COLUMNS)] for row in rows), strict=True)
            return cls(
                names=names,
                ids=np.array(ids, dtype=np.int64),
                cameras=None if "" in cameras else np.array(cameras, dtype=np.int64),
                average_precision=np.array([value or "nan" for value in precisions], dtype=np.float64),
                first_match_rank=np.array(ranks, dtype=np.int64),
                found=tuple(tuple(_found(row[len(COLUMNS) :], most)) for row in rows) if most else (),
            )
        except ValueError as error:
            raise ValueError(f"{path} must hold {len(header)} columns of numbers after the names: {error}") from None


def _found_columns(most: int) -> list[str]:
    return [f"found{place}_{name}" for place in range(1, most + 1) for name in FOUND]


def _cells(found: Sequence[Found], most: int) -> list[str | float | None]:
    cells = [cell for image in found for cell in (image.name, image.identity, image.camera, image.distance)]
    return cells + [None] * (len(FOUND) * most - len(cells))


def _found(cells: Sequence[str], most: int) -> Iterator[Found]:
    """Raises ValueError for what is no number, and for a row of another length."""
    if len(cells) != len(FOUND) * most:
        raise ValueError(f"a row has {len(COLUMNS) + len(cells)}")
    for name, identity, camera, distance in zip(*(cells[start :: len(FOUND)] for start in range(4)), strict=True):
        if distance:
            yield Found(
                name=name, identity=int(identity), camera=int(camera) if camera else None, distance=float(distance)
            )
