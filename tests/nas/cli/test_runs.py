"""`nas runs` as a user meets it: the table, JSON, and the index page."""

import json
import re
from dataclasses import replace

import pytest

from nas.cli.find_recipe import recipe_named
from nas.report.runs import age
from nas.run import Run
from tests.nas.cli.program import nas


@pytest.fixture
def runs(tmp_path):
    """A folder with a run that was evaluated and one that was not."""
    folder = tmp_path / "out"
    for name in ("done", "begun & <b>bold</b>"):
        Run(folder / name, "toy", replace(recipe_named("toy")[1], teacher=None)).note_recipe()
    row = {"name": "s", "role": "student", "mAP": 0.5, "rank1": 0.75, "multiply_adds": 3.8e6, "ms_per_image_1": 0.31}
    (folder / "done" / "metrics.json").write_text(json.dumps({"format": 1, "rows": [row]}))
    (folder / "done" / "report.html").write_text("a page")
    return folder


def test_the_table_fits_in_eighty_columns(runs, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert nas("runs", runs) == 0
    out = capfd.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80 and out.count("┏") == 1
    assert re.search(r"done .* toy .* finished .* 50\.0 .* 3,800k .* 0\.310 .* 0m", out)
    assert "2 runs: 1 stopped, 1 finished" in out


def test_json_stands_alone(runs, capfd):
    assert nas("runs", runs, "--json") == 0
    found = json.loads(capfd.readouterr().out)["runs"]
    assert {row["state"] for row in found} == {"finished", "stopped"}


def test_the_index_page_links_reports_and_escapes_names(runs, capfd):
    assert nas("runs", runs, "--html", runs / "index.html") == 0
    page = (runs / "index.html").read_text()
    assert 'href="done/report.html"' in page and page.count("<a href") == 1
    assert "<b>bold" not in page and "begun &amp; &lt;b&gt;bold" in page
    assert nas("runs", runs, "--html", runs / "index.html") == 0  # its own page is written anew


def test_another_file_is_not_overwritten(runs, capfd):
    (runs / "mine.html").write_text("my page")
    assert nas("runs", runs, "--html", runs / "mine.html") == 2
    assert "is there and is no index of runs" in capfd.readouterr().err
    assert (runs / "mine.html").read_text() == "my page"


def test_a_folder_that_is_not_there(tmp_path, capfd):
    assert nas("runs", tmp_path / "nowhere") == 2
    assert "is not a folder" in capfd.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0, "0m"), (119, "1m"), (3_600, "1h"), (86_399, "23h"), (1e6, "11d")])
def test_ages_are_whole_units(seconds, text):
    assert age(seconds) == text
