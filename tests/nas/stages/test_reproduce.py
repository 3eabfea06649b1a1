"""Published tables: their rows are sound, and are run once each, with one teacher for all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nas.stages.reproduce
from nas.cli.find_recipe import recipe_named, recipes
from nas.cli.main import main
from nas.data.sets.market1501 import Market1501
from nas.stages.paper_figures import paper_figure
from nas.stages.reproduce import paper_against_measured, reproduce
from nas.study.published import Published
from runs.tables import PAPERS, PICTURES

TABLES = {(paper, table): rows() for paper, tables in PAPERS.items() for table, rows in tables.items()}
KNOWN = {
    (space, recipe.images)
    for recipe in (recipe_named(name)[1] for name in recipes())
    for space in (recipe.space, recipe.retrained)
}
"""What the tests of the recipes build."""
RECIPE = recipe_named("fast_reid")[1].small()
ALONE = replace(RECIPE, teacher=None)
MEASURED = {"student": 0.25, "teacher": 0.75}


@pytest.mark.parametrize("table", TABLES, ids=" ".join)
def test_rows_of_a_table_are_sound(table):
    rows = TABLES[table]
    names = [row.name for row in rows]
    assert len(set(names)) == len({nas.stages.reproduce._folder_name(name) for name in names}) == len(names) > 1
    assert all(set(row.paper) <= {"rank1", "mAP"} for row in rows)
    assert all(0.1 < value < 1 for row in rows for value in row.paper.values())
    assert all(row.recipe.teacher for row in rows if row.role == "teacher")
    assert all(row.recipe.baseline is None for row in rows), "no row is about it"
    spaces = {(space, row.recipe.images) for row in rows for space in (row.recipe.space, row.recipe.retrained)} - KNOWN
    with torch.device("meta"):
        for space, images in spaces:
            net = space.with_ids(7).student().eval()
            assert net(torch.zeros(2, 3, images.height, images.width)).logits.shape == (2, 7)


@pytest.fixture
def calls(monkeypatch):
    """What is trained: the stages are replaced by ones that note their run."""
    made = []

    def run_all(run, overwrite):
        made.append((run.folder.name, run.recipe.seed, overwrite))
        return {
            "data": "drawn",
            "rows": [
                {"role": role, "rank1": value, "mAP": value + 0.01 * run.recipe.seed}
                for role, value in MEASURED.items()
            ],
        }

    monkeypatch.setattr(nas.stages.reproduce, "run_all", run_all)

    def teach(run):
        made.append((run.folder.name.partition("-")[0], run.recipe.seed))

    monkeypatch.setattr(nas.stages.reproduce, "teach", teach)
    return made


def rows_of(*recipes):
    return [Published(name=f"Row {number}", recipe=recipe, paper={"mAP": 0.5}) for number, recipe in enumerate(recipes)]


def test_each_recipe_runs_once_and_results_land_one_by_one(tmp_path, calls):
    rows = [*rows_of(ALONE, RECIPE), Published(name="Teacher", recipe=RECIPE, role="teacher", paper={"rank1": 0.9})]
    results = reproduce(rows, tmp_path, num_seeds=2)
    assert calls == [
        ("row-0-seed0", 0, False),
        ("teacher", 0),
        ("row-1-seed0", 0, False),
        ("teacher", 0),
        ("row-1-seed0", 0, False),
        ("row-0-seed1", 1, False),
        ("teacher", 1),
        ("row-1-seed1", 1, False),
        ("teacher", 1),
        ("row-1-seed1", 1, False),
    ]
    assert [[run["rank1"] for run in result["runs"]] for result in results] == [[0.25] * 2, [0.25] * 2, [0.75] * 2]
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == results
    table = paper_against_measured(results)
    assert table.columns[:5] == ("network", "rank-1 paper", "rank-1 measured", "mAP paper", "mAP measured")
    assert table.rows[0].cells[:5] == ("Row 0", "–", "25.0 (25.0 to 25.0)", "50.0", "25.5 (25.0 to 26.0)")
    assert "Teacher | 90.0 | 75.0" in (tmp_path / "table.md").read_text()


def test_starting_again_does_so_once_for_a_recipe(tmp_path, calls):
    rows = [*rows_of(RECIPE), Published(name="Teacher", recipe=RECIPE, role="teacher")]
    reproduce(rows, tmp_path, overwrite=True)
    assert [call[2] for call in calls if call[0] != "teacher"] == [True, False]


def test_rows_without_data_are_left_out_and_said(tmp_path, calls):
    rows = rows_of(ALONE, replace(ALONE, data=Market1501(root=Path("nowhere"))))
    there, absent = reproduce(rows, tmp_path)
    assert len(calls) == 1 and len(there["runs"]) == 1 and there["not_run"] is None
    assert absent["runs"] == [] and "nowhere" in absent["not_run"]
    assert paper_against_measured([absent]).rows[0].cells[:3] == ("Row 1 (no data)", "–", "–")
    with pytest.raises(ValueError, match="nowhere"):
        reproduce(rows[1:], tmp_path)


def test_through_the_command(tmp_path, calls, capsys):
    arguments = ["reproduce", "fast_reid", "table2", "--small", "--rows", "T = 5,", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["rows"]] == ["T = 5, alpha = 0.1", "T = 5, alpha = 0.3", "T = 5, alpha = 0.5"]
    assert len({call for call in calls if call[0] == "teacher"}) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fast_red", "table2"], "no paper 'fast_red'; did you mean 'fast_reid'"),
        (["fast_reid", "tabel2"], "no table 'tabel2'; did you mean 'table2'"),
        (["fast_reid", "table3", "--small", "--rows", "VGG"], "the rows are MobileNetV2; MobileNetV2 + distillation; "),
        (["fast_reid", "table3", "--small", "--seeds", "0"], "seeds must be at least 1, not 0"),
        (["fast_reid", "table3", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_named(arguments, said, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_each_picture_is_of_a_table_and_can_be_drawn():
    assert set(PICTURES) <= set(TABLES) and all(callable(paper_figure(name)) for name in PICTURES.values())


def test_an_unknown_figure_is_named():
    with pytest.raises(ValueError, match="there is no figure 'weigths'; did you mean 'weights'"):
        paper_figure("weigths")


def test_a_figure_is_drawn_of_the_runs(tmp_path, calls, capsys):
    arguments = ["reproduce", "ksl", "figure6", "--small", "--rows", "AUX", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == [str(tmp_path / "label-noise.svg")]
    assert "share of wrong labels" in (tmp_path / "label-noise.svg").read_text()


def test_help_lists_the_tables(capsys):
    assert main(["reproduce", "--help"]) == 0
    assert "fast_reid  table2, table3" in capsys.readouterr().out
