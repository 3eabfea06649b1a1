"""Tables, once: for the terminal, for Markdown and for the page."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod
from rich.markup import escape
from rich.table import Table as RichTable

from nas.errors import CONTROL
from nas.report.numbers import MEASURED, MISSING

WIDEST = 1000  # a table in a file is as wide as it needs to be
NARROWEST = 16  # a name or a text that is longer wraps before the table is split
LEAST = 6  # even in a terminal that is too narrow for a name beside one number
BORDER = 3  # of a column: a line and a blank on either side of the text
_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|#~"})  # Markdown's markup


@dataclass(frozen=True)
class Row:
    """One evaluated network: its cells as text, in the order of the columns, and whether it is marked as the best."""

    cells: tuple[str, ...]
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and rows; the first column is the name, every other holds numbers, except those named in `text`.

    Columns named in `attached` say more of the one to their left, and are never the first of a part of the table.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    text: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()


def result_table(metrics: dict) -> Table:
    """The rows of `metrics.json`; a column that no row has a value for is left out.

    A row is marked as the best if it says `"best": true`.
    """
    rows = metrics.get("rows") or []
    keys = [key for key, (_, text) in MEASURED.items() if any(text(row.get(key)) != MISSING for row in rows)]
    columns = [[str(row.get("name") or MISSING) for row in rows], *(_with_deviation(rows, key) for key in keys)]
    cells = zip(*columns, strict=True)
    return Table(
        columns=("network", *(MEASURED[key][0] for key in keys)),
        rows=tuple(Row(each, best=bool(row.get("best"))) for row, each in zip(rows, cells, strict=True)),
    )


def terminal(*, highlight: bool = True, markup: bool = True) -> Console:
    """Standard output as wide as its terminal, or as COLUMNS says; without either as wide as a table needs."""
    is_narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_narrow else WIDEST, highlight=highlight, markup=markup)


@dataclass(frozen=True)
class Fitted:
    """A table in the width that a terminal has: every head can be read, and every number is whole.

    First names, texts and heads wrap; what is still too wide is split into parts below each other, each with the
    names. The best row is bold and starred.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable]:
        width = options.max_width - 1  # the line at the right end
        for part in _parts(_columns(self.table), width):
            rich = RichTable(header_style="bold")
            for column, size in zip(part, _widths(part, width), strict=True):
                justify: JustifyMethod = "left" if column.is_text else "right"
                rich.add_column(escape(column.head), justify=justify, width=size, overflow="fold")
            for number, row in enumerate(self.table.rows):
                rich.add_row(*(escape(column.cells[number]) for column in part), style="bold" if row.best else "")
            yield rich


@dataclass(frozen=True)
class _Column:
    head: str
    cells: tuple[str, ...]
    is_text: bool
    is_attached: bool

    @property
    def widest(self) -> int:
        """The width at which nothing wraps."""
        return _width([self.head, *self.cells])

    @property
    def narrowest(self) -> int:
        """The width at which the head wraps between words, and texts do, but no number does."""
        cells = _width(self.cells)
        return max(1, _width(self.head.split()), min(cells, NARROWEST) if self.is_text else cells)


def _columns(table: Table) -> list[_Column]:
    """The columns without what would steer a terminal, the best row with its star."""
    rows = [(f"{name} ★" if row.best else name, *others) for row in table.rows for name, *others in [row.cells]]
    return [
        _Column(
            head=head,
            cells=tuple(CONTROL.sub("", row[number]) for row in rows),
            is_text=number == 0 or head in table.text,
            is_attached=head in table.attached,
        )
        for number, head in enumerate(CONTROL.sub("", column) for column in table.columns)
    ]


def _parts(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """The columns in as few parts as `width` asks for; each begins with the first."""
    name, *others = columns
    part = [name]
    for number, column in enumerate(others):
        attached = takewhile(lambda each: each.is_attached, others[number + 1 :])
        needed = sum(each.narrowest + BORDER for each in [*part, column, *attached])
        if needed > width and len(part) > 1 and not column.is_attached:
            yield part
            part = [name]
        part.append(column)
    yield part


def _widths(part: Sequence[_Column], width: int) -> list[int]:
    """The first columns get what is not needed; where even one number has no room, texts wrap more, then the number."""
    widths = [column.narrowest for column in part]
    spare = width - sum(widths) - BORDER * len(part)
    for number, column in enumerate(part):
        more = max(0, min(spare, column.widest - column.narrowest))
        widths[number] += more
        spare -= more
    for number in sorted(range(len(part)), key=lambda number: not part[number].is_text):
        less = max(0, min(-spare, widths[number] - LEAST))
        widths[number] -= less
        spare += less
    return widths


def _width(texts: Iterable[str]) -> int:
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)


def as_rich(table: Table) -> Fitted:
    """For a terminal."""
    return Fitted(table)


def as_markdown(table: Table) -> str:
    """A GitHub table; the best row is bold."""
    lines = [list(map(escape_markdown, table.columns)), ["---", *("---:" for _ in table.columns[1:])]]
    for row in table.rows:
        cells = list(map(escape_markdown, row.cells))
        lines.append([f"**{cell}**" for cell in cells] if row.best else cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def escape_markdown(text: str) -> str:
    """`text` in one line in which nothing is markup, of Markdown or of HTML."""
    return " ".join(text.translate(_ESCAPED).split())


def _with_deviation(rows: Sequence[dict], key: str) -> list[str]:
    """Numbers, and behind each its standard deviation over a protocol's repeats where there is one."""
    text = MEASURED[key][1].beside([row.get(key) for row in rows])
    pairs = [(text(row.get(key)), text(row.get(f"{key}_sd"))) for row in rows]
    return [value if deviation == MISSING else f"{value} ± {deviation}" for value, deviation in pairs]
