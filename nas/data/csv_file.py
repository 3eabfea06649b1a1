"""A user's own images, listed in one CSV file."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.base import SPLITS, DataSource, Files, ReIDData, Split, listing
from nas.data.lists import check_listed

COLUMNS = ("path", "identity", "split")
JUNK = "-1"


@dataclass(frozen=True, kw_only=True)
class Csv(DataSource):
    """A CSV file in UTF-8 with a header and the columns `path,identity,camera,split`, in any order, others ignored.

    path: of the image, relative to the CSV's folder; each once. identity, camera: whole numbers or any names. Names
    become the numbers 0, 1, ... in sorted order, the same in all splits. Identity -1 is junk and camera -1 unknown (see
    Split). No other identity is both in train and in query or gallery. camera: may be left out as a column. split:
    train, query or gallery.
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
        everything = Split(images=Files(tuple(paths)), ids=ids, cameras=cameras)
        splits = np.array([row["split"] for _, row in rows])
        return ReIDData(name=file.name, **{split: everything.take(splits == split) for split in SPLITS})


def rows_of(file: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> text) of each image. Raises ValueError naming the line that is not as it must be."""
    if not file.is_file():
        raise ValueError(f'the CSV file "{file}" does not exist')
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            columns = check_header(file, reader.fieldnames or ())
            rows = [(reader.line_num, {name: (row[name] or "").strip() for name in columns}) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a CSV file in UTF-8: {error}") from error
    for line, row in rows:
        check_row(file, line, row)
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
    return (*COLUMNS, "camera") if "camera" in names else COLUMNS


def check_row(file: Path, line: int, row: dict[str, str]) -> None:
    for name, value in row.items():
        if not value:
            raise ValueError(f"{file}, line {line}: the column {name} is empty")
    if row["split"] not in SPLITS:
        raise ValueError(f'{file}, line {line}: split must be one of {", ".join(SPLITS)}; got "{row["split"]}"')


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
