"""The table of results in its three forms."""

import io
import math

import pytest
from rich.console import Console

from nas.report import table
from nas.report.table import as_markdown, as_rich, result_table

METRICS = {
    "rows": [
        {"name": "teacher", "mAP": 0.6402, "rank1": 0.8, "parameters": 23_508_032, "multiply_adds": 2_690_000_000},
        {"name": "[red]st|ud*ent", "mAP": 0.612, "rank1": None, "parameters": 2_143_872, "ms_per_image_1": 7.2},
    ]
}
METRICS["rows"][1]["best"] = True


def test_cells_are_formatted_and_gaps_dashed():
    result = result_table(METRICS)
    assert result.columns == ("network", "mAP", "rank-1", "parameters", "MACs", "ms, batch 1")
    assert result.rows[0].cells == ("teacher", "64.0", "80.0", "23.51 M", "2.69 G", "–")
    assert result.rows[1].cells == ("[red]st|ud*ent", "61.2", "–", "2.14 M", "–", "7.20")
    assert [row.best for row in result.rows] == [False, True]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (table.percent, 1, "100.0"),
        (table.percent, 0.0, "0.0"),
        (table.millions, 411_000, "0.41 M"),
        (table.millions, 632_000_000, "632 M"),
        (table.millions, 2_880, "2.9 k"),
        (table.multiply_adds, 94_321, "94 k"),
        (table.multiply_adds, 94_000_000, "94 M"),
        (table.milliseconds, 0.21449, "0.214"),
        (table.milliseconds, 1234.5, "1234"),
        (table.general, -12.345678, "-12.346"),
    ],
)
def test_formats(text, value, expected):
    assert text(value) == expected


@pytest.mark.parametrize("text", [table.percent, table.millions, table.multiply_adds, table.milliseconds])
def test_what_is_no_measurement_is_a_dash(text):
    for value in (None, math.nan, math.inf, 10**400, "0.5", True, [1]):
        assert text(value) == table.MISSING


def test_terminal_shows_every_cell_and_marks_the_best():
    console = Console(file=io.StringIO(), width=120)
    console.print(as_rich(result_table(METRICS)))
    shown = console.file.getvalue()
    assert "[red]st|ud*ent ★" in shown and "23.51 M" in shown and "teacher ★" not in shown


def test_markdown_keeps_its_columns_whatever_the_name():
    lines = as_markdown(result_table(METRICS)).splitlines()
    assert lines[0] == "| network | mAP | rank-1 | parameters | MACs | ms, batch 1 |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[3].startswith(r"| **\[red\]st\|ud\*ent** | **61.2** |")


def test_no_rows_is_an_empty_table():
    assert result_table({}).rows == () and as_markdown(result_table({})).startswith("| network |")


def test_a_protocols_repeats_show_their_deviation():
    row = {"name": "student", "mAP": 0.612, "mAP_sd": 0.0034, "rank1": 0.7, "repeats": 10}
    assert result_table({"rows": [row]}).rows[0].cells == ("student", "61.2 ± 0.3", "70.0")
