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
SEPARATORS = (",", ";", "\t")
BELOW_ZERO = r"-0*[1-9][0-9]*(\.0*)?"
NONE = "-1"
"""The cell of junk and of an unknown camera."""


@dataclass(frozen=True, kw_only=True)
class ImageList(DataSource):
    """A CSV file in UTF-8 with a header and the columns `path,identity,camera,split`, in any order, others ignored.

    The header's names may be in upper case, and commas, semicolons or tabs separate the columns. Blanks around a cell
    do not count.

    path: of the image, relative to the CSV's folder; each once, however it is written and whatever links lead to it.
    identity, camera: whole numbers or any names. Names become the numbers 0, 1, ... in sorted order, the same in all
    splits. An identity below 0 is junk and a camera below 0 unknown (see Split), which no query's is. No other identity
    is both in train and in query or gallery. camera: may be left out as a column. split: train, query or gallery.

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
    """(line, column -> text) of each image; lines without text are skipped. Raises ValueError naming a wrong line."""
    if not file.is_file():
        raise ValueError(f'the CSV file "{file}" does not exist')
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            first = next((line for line in text if line.strip()), "")
            text.seek(0)
            reader = csv.reader(text, delimiter=separator_of(first), skipinitialspace=True, strict=True)
            lines = ((reader.line_num, line) for line in reader if any(cell.strip() for cell in line))
            number, names = next(lines, (1, []))
            header = check_header(file, number, [name.strip().lower() for name in names])
            rows = [(number, cells(file, number, header, line)) for number, line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a CSV file in UTF-8; save it as such: {error}") from error
    if not rows:
        raise ValueError(f"{file}: there must be a line for each image; found none below the header")
    return rows


def separator_of(header: str) -> str:
    """What separates the columns: the separator that cuts most of the known ones out of the header's text."""
    return max(SEPARATORS, key=lambda one: sum(name.strip(' "\r\n\t').lower() in COLUMNS for name in header.split(one)))


def check_header(file: Path, line: int, names: list[str]) -> list[str]:
    """`names`, in lower case. Raises ValueError when a column is missing or there twice."""
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(
            f"{file}, line {line}: the header needs the columns path,identity,camera,split (camera may be left out), "
            f"separated by comma, semicolon or tab; {', '.join(missing)} is missing from: "
            f"{', '.join(names) or 'an empty file'}"
        )
    if twice := [name for name in (*COLUMNS, "camera") if names.count(name) > 1]:
        raise ValueError(
            f"{file}, line {line}: the header must have each column once, but has {', '.join(twice)} again"
        )
    return names


def cells(file: Path, line: int, header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Column -> text, `NONE` for an identity or a camera below 0. Raises ValueError naming the line that is wrong."""
    if len(row) > len(header):
        raise ValueError(
            f"{file}, line {line}: there are more cells than columns; put a cell with a separator in quotes"
        )
    texts = dict(zip(header, (cell.strip() for cell in row), strict=False))
    found = {name: texts.get(name, "") for name in (*COLUMNS, "camera") if name in header}
    for name, value in found.items():
        if not value:
            raise ValueError(f"{file}, line {line}: the column {name} is empty")
        if name in ("identity", "camera") and re.fullmatch(BELOW_ZERO, value):
            found[name] = NONE
    if found["split"] not in SPLITS:
        raise ValueError(f'{file}, line {line}: split must be one of {", ".join(SPLITS)}; got "{found["split"]}"')
    if found["split"] == "query" and found.get("camera") == NONE:
        raise ValueError(f"{file}, line {line}: a query needs a known camera; got {texts['camera']}, an unknown one")
    return found


def check_apart(file: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Raises ValueError naming the identities, with their first lines, that are in training and in the test too."""
    train, test = (
        {row["identity"]: line for line, row in reversed(rows) if (row["split"] == "train") is is_train}
        for is_train in (True, False)
    )
    if shared := [f"{one} (lines {train[one]} and {test[one]})" for one in train if one in test and one != NONE]:
        raise ValueError(
            f"{file}: an identity is either in training or in query and gallery, but both have {listing(shared)}"
        )


def numbered(names: Sequence[str]) -> np.ndarray:
    """The names as int64 [N]: their own numbers when all are whole numbers, written in one way each; otherwise their
    places in sorted order, and -1 for "-1"."""
    distinct = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in distinct) and len({*map(int, distinct)}) == len(distinct):
        return np.array([int(name) for name in names], dtype=np.int64)
    place = {name: number for number, name in enumerate(name for name in distinct if name != NONE)} | {NONE: -1}
    return np.array([place[name] for name in names], dtype=np.int64)
