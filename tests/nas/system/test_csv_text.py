"""Texts come back from CSV as they were, and none of them is a formula to a spreadsheet."""

import csv

import pytest

from nas.system.csv_text import csv_rows, csv_text

STARTS = "=+-@\t\r\n＝＋－＠"


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("before", ["", "'", "''"])
def test_no_text_begins_as_a_formula_and_each_comes_back(start, before):
    texts = [f'{before}{start}SUM(A1), "x"\r\nb', f"a{start}", f"{before}a", before]
    text = csv_text([texts, ["second", "", "", ""]])
    (raw, *_), (row, second) = csv.reader(text.splitlines(keepends=True)), csv_rows(text)
    assert row == texts and second == ["second", "", "", ""]
    assert not any(cell.startswith(tuple(STARTS)) for cell in raw)


def test_numbers_stay_numbers():
    assert csv_text([[-1, -0.5, None, True, 1e-7, "ü"]]) == "-1,-0.5,,True,1e-07,ü\n"
