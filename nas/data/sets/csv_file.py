"""A user's own images, listed in one CSV file."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.base import SPLITS, ReIDData, Split
from nas.data.checks import listing
from nas.data.images import Files
from nas.data.sets.lists import check_listed
from nas.data.source import DataSource

COLUMNS = ("path", "identity", "split")
JUNK = "-1"
UNKNOWN = "-1"


@dataclass(frozen=True, kw_only=True)
class ImageList(DataSource):
    """A CSV file in UTF-8 with a header and the columns `path,identity,camera,split`, in any order, others ignored.

    path: of the image, relative to the CSV's folder; each once. identity, camera: whole numbers or any names. Names
    become the numbers 0, 1, ... in sorted order, the same in all splits. Identity -1 is junk and camera -1 unknown (see
    Split), which no query's is. No other identity is both in train and in query or gallery. camera: may be left out as
    a column. split: train, query or gallery.

    Images with an orientation tag (EXIF), as phones write it, are turned upright. Those of the other data sets are read
    as they are stored.
    """

    file: Path

    def listed(self) -> ReIDData:
        file = Path(self.file)
        rows = rows_of(file)
        paths = [file.parent / row["path"] for _, row in rows]
        check_listed(str(file), [f"line {line}" for line, _ in rows], paths)
        check_apart(file, rows)
        ids = numbered([row["identity"] for _, row in rows])
        cameras = numbered([row["camera"] for _, row in rows]) if "camera" in rows[0][1] else None
        everything = Split(images=Files(tuple(paths), upright=True), ids=ids, cameras=cameras)
        splits = np.array([row["split"] for _, row in rows])
        train, query, gallery = (everything.take(splits == split) for split in SPLITS)
        return ReIDData(name=file.name, train=train, query=query, gallery=gallery)


def rows_of(file: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> text) of each image. Raises ValueError naming the line that is not as it must be."""
    if not file.is_file():
        raise ValueError(f'the CSV file "{file}" does not exist')
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            columns = check_header(file, reader.fieldnames or ())
            rows = [(reader.line_num, cells(file, reader.line_num, row, columns)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a CSV file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{file}: there must be a line for each image; found none below the header")
    return rows


def check_header(file: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The columns to read: `camera` only where there is one."""
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(
            f"{file}, line 1: the header needs the columns path,identity,camera,split (camera may be left out); "
            f"{', '.join(missing)} is missing from: {', '.join(names) or 'an empty file'}"
        )
    columns = (*COLUMNS, "camera") if "camera" in names else COLUMNS
    if twice := [name for name in columns if names.count(name) > 1]:
        raise ValueError(f"{file}, line 1: the header must have each column once, but has {', '.join(twice)} again")
    return columns


def cells(file: Path, line: int, row: dict[str | None, str | None], columns: Sequence[str]) -> dict[str, str]:
    """Column -> text. Raises ValueError naming the line that is not as it must be."""
    if None in row:
        raise ValueError(f"{file}, line {line}: there are more cells than columns; put a cell with a comma in quotes")
    found = {name: (row[name] or "").strip() for name in columns}
    for name, value in found.items():
        if not value:
            raise ValueError(f"{file}, line {line}: the column {name} is empty")
    if found["split"] not in SPLITS:
        raise ValueError(f'{file}, line {line}: split must be one of {", ".join(SPLITS)}; got "{found["split"]}"')
    if found["split"] == "query" and found.get("camera") == UNKNOWN:
        raise ValueError(f"{file}, line {line}: a query needs a known camera; got {UNKNOWN}, which is an unknown one")
    return found


def check_apart(file: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Raises ValueError naming the identities, with their first lines, that are in training and in the test too."""
    train, test = (
        {row["identity"]: line for line, row in reversed(rows) if (row["split"] == "train") is is_train}
        for is_train in (True, False)
    )
    if shared := [f"{one} (lines {train[one]} and {test[one]})" for one in train if one in test and one != JUNK]:
        raise ValueError(
            f"{file}: an identity is either in training or in query and gallery, but both have {listing(shared)}"
        )


def numbered(names: Sequence[str]) -> np.ndarray:
    """The names as int64 [N]: their own numbers when all are whole numbers, written in one way each; otherwise their
    places in sorted order, and -1 for "-1"."""
    distinct = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in distinct) and len({*map(int, distinct)}) == len(distinct):
        return np.array([int(name) for name in names], dtype=np.int64)
    place = {name: number for number, name in enumerate(name for name in distinct if name != JUNK)} | {JUNK: -1}
    return np.array([place[name] for name in names], dtype=np.int64)
