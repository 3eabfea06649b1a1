"""The table of results, once: for the terminal, for Markdown and for the page."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table as RichTable

MISSING = "–"
LIMIT = 1e15
_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|#~"})  # Markdown's markup


@dataclass(frozen=True)
class Row:
    """One evaluated network: its cells as text, in the order of the columns, and whether it is marked as the best."""

    cells: tuple[str, ...]
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and rows; the first column is the name, every other holds numbers."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def percent(value: object) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return _formatted(value, lambda share: f"{100 * share:.1f}")


def millions(value: object) -> str:
    """A count of parameters, in thousands where there are fewer than ten thousand."""
    return _formatted(
        value,
        lambda count: (
            f"{count / 1e3:.1f} k" if count < 1e4 else f"{count / 1e6:.2f} M" if count < 1e8 else f"{count / 1e6:.0f} M"
        ),
    )


def multiply_adds(value: object) -> str:
    """A count of MACs (multiply-adds): k below ten million, G from a thousand million on."""
    return _formatted(
        value,
        lambda count: (
            f"{count / 1e9:.2f} G"
            if count >= 1e9
            else f"{count / 1e6:.0f} M"
            if count >= 1e7
            else f"{count / 1e3:.0f} k"
        ),
    )


def milliseconds(value: object) -> str:
    """A duration with three significant digits."""
    return _formatted(value, lambda ms: f"{ms:.0f}" if ms >= 100 else f"{ms:#.3g}")


def general(value: object) -> str:
    """Any other number, with five significant digits."""
    return _formatted(value, lambda number: f"{number:.5g}")


_COLUMNS: dict[str, tuple[str, Callable[[object], str]]] = {
    "mAP": ("mAP", percent),
    "rank1": ("rank-1", percent),
    "rank5": ("rank-5", percent),
    "rank10": ("rank-10", percent),
    "mINP": ("mINP", percent),
    "parameters": ("parameters", millions),
    "multiply_adds": ("MACs", multiply_adds),
    "ms_per_image_1": ("ms, batch 1", milliseconds),
    "ms_per_image_128": ("ms, batch 128", milliseconds),
}


def result_table(metrics: dict) -> Table:
    """The rows of `metrics.json`; a column that no row has a value for is left out.

    A row is marked as the best if it says `"best": true`.
    """
    rows = metrics.get("rows") or []
    keys = [key for key, (_, text) in _COLUMNS.items() if any(text(row.get(key)) != MISSING for row in rows)]
    cells = [(str(row.get("name") or MISSING), *(_with_deviation(row, key) for key in keys)) for row in rows]
    return Table(
        columns=("network", *(_COLUMNS[key][0] for key in keys)),
        rows=tuple(Row(each, best=bool(row.get("best"))) for row, each in zip(rows, cells, strict=True)),
    )


def as_rich(table: Table) -> RichTable:
    """For the terminal; the best row is bold and starred."""
    rich = RichTable(header_style="bold")
    for number, column in enumerate(table.columns):
        rich.add_column(escape(column), justify="right" if number else "left")
    for row in table.rows:
        name, *numbers = map(escape, row.cells)
        rich.add_row(f"{name} ★" if row.best else name, *numbers, style="bold" if row.best else "")
    return rich


def as_markdown(table: Table) -> str:
    """A GitHub table; the best row is bold."""
    lines = [table.columns, ["---", *("---:" for _ in table.columns[1:])]]
    for row in table.rows:
        cells = [" ".join(cell.translate(_ESCAPED).split()) for cell in row.cells]
        lines.append([f"**{cell}**" for cell in cells] if row.best else cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _with_deviation(row: dict, key: str) -> str:
    """A number, and behind it its standard deviation over a protocol's repeats where there is one."""
    text = _COLUMNS[key][1]
    value, deviation = text(row.get(key)), text(row.get(f"{key}_sd"))
    return value if deviation == MISSING else f"{value} ± {deviation}"


def _formatted(value: object, text: Callable[[float], str]) -> str:
    """`text(value)`, or a dash for what is missing, no number, or beyond anything a network can have."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return MISSING
    return text(value) if abs(value) < LIMIT else MISSING
