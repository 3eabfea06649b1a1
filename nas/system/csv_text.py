"""Tables as CSV that a spreadsheet shows as it is: no cell of text is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With what a spreadsheet's formula begins; the last four are the first ones at full width."""
GUARD = "'"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV. A text that begins as a formula does has an apostrophe before it; numbers stay numbers, None is
    an empty cell. `csv_rows` gives the texts back."""
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow([_guarded(cell) if isinstance(cell, str) else cell for cell in row])
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")  # of these ends each is quoted inside a cell
    return "".join(lines)


def csv_rows(text: str) -> list[list[str]]:
    """The cells of what `csv_text` wrote, without the apostrophes that it put before some."""
    rows = csv.reader(io.StringIO(text, newline=""))
    return [[cell.removeprefix(GUARD) if _is_guarded(cell) else cell for cell in row] for row in rows]


def _guarded(text: str) -> str:
    """With one apostrophe more where a formula, or one with apostrophes before it, would stand."""
    return GUARD + text if text.lstrip(GUARD).startswith(FORMULA) else text


def _is_guarded(cell: str) -> bool:
    return cell.startswith(GUARD) and cell.lstrip(GUARD).startswith(FORMULA)
