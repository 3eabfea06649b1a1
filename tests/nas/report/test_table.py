"""The table of results in its three forms."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from nas.report.table import Row, Table, as_markdown, as_rich, result_table, terminal

METRICS = {
    "rows": [
        {"name": "teacher", "mAP": 0.6402, "rank1": 0.8, "parameters": 23_508_032, "multiply_adds": 2_690_000_000},
        {"name": "[red]st|ud*ent", "mAP": 0.612, "rank1": None, "parameters": 2_143_872, "ms_per_image_1": 7.2},
    ]
}
METRICS["rows"][1]["best"] = True


def printed(table: Table, width: int = 60) -> str:
    """What a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width)
    console.print(as_rich(table))
    return console.file.getvalue()


def test_cells_are_formatted_and_gaps_dashed():
    result = result_table(METRICS)
    assert result.columns == ("network", "mAP", "rank-1", "parameters", "MACs", "ms, batch 1")
    assert result.rows[0].cells == ("teacher", "64.0", "80.0", "23.51 M", "2.69 G", "–")
    assert result.rows[1].cells == ("[red]st|ud*ent", "61.2", "–", "2.14 M", "–", "7.20")
    assert [row.best for row in result.rows] == [False, True]


def test_terminal_shows_every_cell_and_marks_the_best():
    shown = printed(result_table(METRICS), width=120)
    assert "[red]st|ud*ent ★" in shown and "23.51 M" in shown and "teacher ★" not in shown


SIZES = {"parameters": 46_510, "multiply_adds": 5_546_000, "ms_per_image_1": 2.573, "ms_per_image_128": 0.0804}
LONG = {
    "rows": [
        {"name": "teacher (ResNet-18 x0.0625) 漢字漢字漢字", "mAP": 0.181, "rank1": 1.0, "rank5": 0.125, "rank10": 1.0,
         "mINP": 0.1, "best": True, **SIZES},
        {"name": "name_without_a_blank_that_goes_on_and_on", "mAP": 1.0, "rank1": 0.0, "rank5": 0.0, "rank10": 0.0,
         "mINP": 0.1, **{key: 100 * value for key, value in SIZES.items()}},
    ]
}  # fmt: skip
WIDE = Table(
    columns=("state", *(f"a.parameter_of_number_{n}" for n in range(7)), "all that was decided"),
    rows=(Row(("1", *("0.12345678" for _ in range(7)), "3 sep3, 2 skip, 1 none and a word or two more")),),
    text=("all that was decided",),
)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("table", [result_table(LONG), WIDE], ids=["results", "trials"])
def test_a_terminal_of_any_width_shows_heads_between_words_and_whole_numbers(table, width):
    shown = printed(table, width)
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "…" not in shown and set(" ".join(table.columns).split()) <= set(shown.split())
    for row in table.rows:
        assert all(
            any(cell in line for line in lines) for cell in row.cells[1:] if cell[0].isdigit() and "," not in cell
        )


def test_each_part_of_a_table_has_the_names_and_a_column_that_says_more_stays_with_its_own():
    columns = ("network", "mAP", "queries", "identities", "rank-1", "queries", "identities")
    table = Table(columns, (Row(("student", *["12.3–45.6"] * 6)),), attached=("queries", "identities"))
    shown = printed(table)
    heads = [line.replace("┃", " ").split() for line in shown.splitlines() if "┃" in line]
    assert heads == [["network", *columns[1:4]], ["network", *columns[4:]]]
    assert shown.count("student") == 2


def test_a_column_has_one_unit_and_as_many_decimals_in_each_row():
    first, second = (row.cells[6:] for row in result_table(LONG).rows)
    assert first == ("0.047 M", "5.5 M", "2.6", "0.080")
    assert second == ("4.651 M", "554.6 M", "257.3", "8.040")


def test_no_name_steers_the_terminal():
    shown = printed(result_table({"rows": [{"name": "a\x1b[31mb\x07", "mAP": 0.5}]}))
    assert "mAP" in shown and "\x1b" not in shown and "\x07" not in shown


def test_a_file_is_as_wide_as_its_table_unless_columns_says_how_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal().width >= 1000
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal().width == 72


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
