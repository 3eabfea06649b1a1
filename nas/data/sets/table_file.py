"""Tables of a user's own: CSV files with a header, read strictly."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SEPARATORS = (",", ";", "\t")
OPTIONAL = "camera"
"""The column that may be left out."""
BELOW_ZERO = r"-0*[1-9][0-9]*(\.0*)?"
NONE = "-1"
"""The cell of an identity that is none, and of an unknown camera."""

Rows = list[tuple[int, dict[str, str]]]


def rows_of(file: Path, columns: Sequence[str], optional: Sequence[str] = (OPTIONAL,)) -> Rows:
    """(line, column -> text) of each row, of these columns alone; lines without text are skipped. Those that are
    `optional` may be missing.

    Raises ValueError naming the file, and the line where one is wrong.
    """
    if not file.is_file():
        raise ValueError(f'the CSV file "{file}" {"is a folder" if file.is_dir() else "does not exist"}')
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            first = next((line for line in text if line.strip()), "")
            text.seek(0)
            delimiter = separator_of(first, columns)
            reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
            lines = ((reader.line_num, line) for line in reader if any(cell.strip() for cell in line))
            number, names = next(lines, (1, []))
            header = check_header(file, number, [name.strip().lower() for name in names], columns, optional)
            rows = [(number, cells(file, number, header, line, columns)) for number, line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a CSV file in UTF-8; save it as such: {error}") from error
    if not rows:
        raise ValueError(f"{file}: there must be a line for each image; found none below the header")
    return rows


def separator_of(header: str, columns: Sequence[str]) -> str:
    """What separates the columns: the separator that cuts most of the known ones out of the header's text."""
    return max(SEPARATORS, key=lambda one: sum(name.strip(' "\r\n\t').lower() in columns for name in header.split(one)))


def check_header(
    file: Path, line: int, names: list[str], columns: Sequence[str], optional: Sequence[str] = (OPTIONAL,)
) -> list[str]:
    """`names`, in lower case. Raises ValueError when a column is missing or there twice."""
    if missing := [name for name in columns if name not in (*names, *optional)]:
        left_out = ", ".join(name for name in columns if name in optional)
        raise ValueError(
            f"{file}, line {line}: the header needs the columns {','.join(columns)} ({left_out} may be left out), "
            f"separated by comma, semicolon or tab; {', '.join(missing)} is missing from: "
            f"{', '.join(names) or 'an empty file'}"
        )
    if twice := [name for name in columns if names.count(name) > 1]:
        raise ValueError(
            f"{file}, line {line}: the header must have each column once, but has {', '.join(twice)} again"
        )
    return names


def cells(file: Path, line: int, header: Sequence[str], row: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Column -> text. Raises ValueError for a row with more cells than the header."""
    if len(row) > len(header):
        raise ValueError(
            f"{file}, line {line}: there are more cells than columns; put a cell with a separator in quotes"
        )
    texts = dict(zip(header, (cell.strip() for cell in row), strict=False))
    return {name: texts.get(name, "") for name in columns if name in header}


def checked(
    file: Path, line: int, row: Mapping[str, str], needed: Sequence[str], splits: Sequence[str]
) -> dict[str, str]:
    """`row` with `NONE` for an identity or a camera below 0. Raises ValueError naming the line where a cell of `needed`
    is empty, the split is none of `splits`, or a query has an unknown camera."""
    for name in needed:
        if not row.get(name, NONE):
            raise ValueError(f"{file}, line {line}: the column {name} is empty")
    if row["split"] not in splits:
        raise ValueError(f'{file}, line {line}: split must be one of {", ".join(splits)}; got "{row["split"]}"')
    below = [name for name in ("identity", OPTIONAL) if re.fullmatch(BELOW_ZERO, row.get(name, ""))]
    if row["split"] == "query" and OPTIONAL in below:
        raise ValueError(f"{file}, line {line}: a query needs a known camera; got {row[OPTIONAL]}, an unknown one")
    return {**row, **dict.fromkeys(below, NONE)}


def numbered(names: Sequence[str]) -> np.ndarray:
    """The names as int64 [N]: their own numbers when all are whole numbers, written in one way each; otherwise their
    places in sorted order, and -1 for "-1"."""
    distinct = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in distinct) and len({*map(int, distinct)}) == len(distinct):
        return np.array([int(name) for name in names], dtype=np.int64)
    place = {name: number for number, name in enumerate(name for name in distinct if name != NONE)} | {NONE: -1}
    return np.array([place[name] for name in names], dtype=np.int64)
