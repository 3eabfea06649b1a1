"""Tables of architectures: drawn, trained under each arm, killed and gone on with, and refused; what a run reaches is
made up."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nas.bench.tables import read_tables
from nas.errors import NonFiniteLoss
from nas.losses.labels import LabelLoss
from nas.report.architecture_table import read_table
from nas.stages import arms, sampled_students, tabulate
from nas.stages.arms import Arm
from nas.stages.sampled_students import Band, distinct_students
from nas.stages.tabulate import TableDesign, Tabulation
from nas.study.place import Place
from nas.study.watch import watched
from nas.system.files import write_json, write_lines
from runs.recipes.demo import toy
from search_spaces.ops import conv_norm
from search_spaces.space import SearchSpace
from students.reid import ReID


@dataclass(frozen=True, kw_only=True)
class Small(SearchSpace):
    """A layer of one of three widths and one of two kernels."""

    def build(self, pick, c_in=3):
        width, kernel = pick.value("width", (4, 6, 8)), pick.value("kernel", (1, 3))
        net = conv_norm(c_in, width, kernel)
        net.out_channels = width
        return net


RECIPE = replace(
    toy(), teacher=None, baseline=None, loss=LabelLoss(), space=ReID(backbone=Small(), embedding_dim=8), student=None
)


def arm(name, **fields):
    return Arm(name=name, recipe_name="toy", recipe=replace(RECIPE, **fields))


PLAIN, HARD = arm("plain"), arm("hard", loss=LabelLoss(margin=0.5))


def counted(recipe, architecture):
    """In place of counting, which takes its time."""
    decided = architecture.decisions
    return {"parameters": 100, "multiply_adds": 1000 * decided["backbone.width"] * decided["backbone.kernel"]}


def value(folder):
    _, arm_name, seed = folder.name.split("-")
    architecture = json.loads((folder / "architecture.json").read_text())
    return architecture["decisions"]["backbone.width"] / 100 + 0.001 * int(seed[4:]) + 0.01 * (arm_name == "hard")


@pytest.fixture
def made_up(monkeypatch):
    """Runs that reach what `value` says at once; the names of their folders."""
    runs = []

    def retrained(run):
        runs.append(run.folder.name)
        lines = [{"epoch": epoch, "loss": {"total": 2.0 - epoch, "identity": 1.0}} for epoch in (0, 1)]
        write_lines(run.folder / "retrain.history.jsonl", [lines[0], lines[1] | {"mAP": value(run.folder)}])

    def evaluated(run):
        timing = {"runtime": "onnxruntime", "threads": 1, "batches": {}}
        row = {"role": "student", "name": "cell", "mAP": value(run.folder), "rank1": 0.5}
        metrics = {"format": 1, "rows": [row | {"ms_per_image_1": float(len(runs)), "timing": timing}]}
        write_json(run.folder / "metrics.json", metrics)
        return metrics

    monkeypatch.setattr(sampled_students, "student_cost", counted)
    monkeypatch.setattr(arms, "teach_once", lambda run: None)
    monkeypatch.setattr(tabulate, "retrain", retrained)
    monkeypatch.setattr(tabulate, "evaluate", evaluated)
    return runs


def tabulation(folder, *arms, num=3, seeds=2, band=None):
    design = TableDesign(arms=arms or (PLAIN, HARD), seeds=seeds, architectures=num, band=band)
    return Tabulation(design, Place(folder=folder))


def test_architectures_are_done_one_by_one_with_all_seeds_and_arms(tmp_path, made_up):
    study = tabulation(tmp_path)
    study.work()
    table = study.result()
    hashes = [row["hash"] for row in table["architectures"]]
    assert made_up == [f"{name}-{arm}-seed{seed}" for name in hashes for seed in (0, 1) for arm in ("plain", "hard")]
    assert table == read_table(tmp_path / "table.json") and not table["missing"]
    row = table["architectures"][0]
    assert row["multiply_adds"] == 1000 * row["decisions"]["backbone.width"] * row["decisions"]["backbone.kernel"]
    assert row["ms_per_image_1"] == 2.5 and row["timing"] == {"runtime": "onnxruntime", "threads": 1}
    run = next(run for run in row["runs"] if (run["arm"], run["seed"]) == ("hard", 1))
    assert run["mAP"] == pytest.approx(row["decisions"]["backbone.width"] / 100 + 0.011) and run["rank1"] == 0.5
    assert run["loss"] == [2.0, 1.0] and run["mAP_by_epoch"] == {"1": run["mAP"]}
    assert table["summary"]["arms"][1]["sd_seeds"] == pytest.approx(0.001 / 2**0.5)


def test_what_was_finished_is_a_smaller_table_and_the_rest_is_named(tmp_path, made_up, monkeypatch):
    reached = tabulate.evaluate

    def dies(run):
        if len(made_up) == 6:
            raise KeyboardInterrupt
        return reached(run)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tabulate, "evaluate", dies)
        tabulation(tmp_path).work()
    study = tabulation(tmp_path)
    table = study.result()
    assert table["trials"] == {"done": 5, "planned": 12} and len(table["missing"]) == 7
    assert [arm["architectures"] for arm in table["summary"]["arms"]] == [1, 1]
    assert table["missing"][0]["architecture"] == table["architectures"][1]["hash"]
    study.work()
    assert len({*made_up}) == 12 and len(made_up) == 13 and not study.result()["missing"]
    assert watched(tmp_path)["command"] == "tabulate" and watched(tmp_path)["done"] == 12


def test_more_architectures_add_to_it(tmp_path, made_up):
    first = tabulation(tmp_path)
    first.work()
    more = tabulation(tmp_path, num=5)
    assert list(more.students)[:3] == list(first.students) and more.engine.num_open == 8
    more.work()
    assert len(made_up) == 20 and not more.result()["missing"]
    with pytest.raises(ValueError, match="--architectures is 4, and the table in .* has 5 already: give as many"):
        tabulation(tmp_path, num=4)


def test_a_run_that_diverges_is_missing_with_its_reason(tmp_path, made_up, monkeypatch):
    reached = tabulate.evaluate

    def diverges(run):
        if len(made_up) == 2:
            raise NonFiniteLoss("it became nan")
        return reached(run)

    monkeypatch.setattr(tabulate, "evaluate", diverges)
    study = tabulation(tmp_path)
    study.work()
    table = study.result()
    assert [each["why"] for each in table["missing"]] == ["it became nan"] and study.engine.is_over
    assert [arm["architectures"] for arm in table["summary"]["arms"]] == [3, 2]


def test_milliseconds_of_several_machines_are_not_mixed(tmp_path, made_up):
    study = tabulation(tmp_path, num=1)
    study.work()
    metrics = next(tmp_path.glob("*-hard-seed1")) / "metrics.json"
    written = json.loads(metrics.read_text())
    written["rows"][0]["timing"]["threads"] = 2
    write_json(metrics, written)
    (row,) = study.result()["architectures"]
    assert row["ms_per_image_1"] is None and row["timing"] is None


def test_all_of_a_space_is_a_whole_table_for_a_search(tmp_path, made_up):
    study = tabulation(tmp_path, num=None)
    study.work()
    table = study.result()
    assert len(table["architectures"]) == 6 and table["chosen"]["how"] == "all"
    plain, hard = read_tables(tmp_path)
    assert not plain.lacks and hard.optimum == pytest.approx(9.05)
    for seed in range(20):
        sampled = plain.space.sample(np.random.default_rng(seed))
        assert plain.score(sampled, 1).value == pytest.approx(sampled.decisions["backbone.width"] + 0.05)


def test_the_same_architectures_come_by_the_same_seed_within_a_band(made_up):
    band = Band(multiply_adds=6000, within=0.4)
    macs = [each.multiply_adds for each in distinct_students(RECIPE, None, band)]
    assert sorted(macs) == [4000, 6000, 8000]
    assert {each.multiply_adds for each in distinct_students(RECIPE, 3, band)} == {*macs}
    assert distinct_students(RECIPE, 5)[:2] == distinct_students(RECIPE, 2)
    assert distinct_students(replace(RECIPE, seed=1), 5) != distinct_students(RECIPE, 5)


NONE = Band(multiply_adds=100, within=0.05)


class TestRefusals:
    @pytest.mark.parametrize(
        "num, band, message",
        [
            (7, None, "7 were asked for, and 60 draws in a row brought none beyond 6: ask for fewer, or all"),
            (
                2,
                NONE,
                r"brought none beyond 0 of 100 multiply-adds, give or take 5 %: .*widen",
            ),
            (None, NONE, "none of the 6 architectures has 100 multiply-adds"),
        ],
    )
    def test_architectures_that_there_are_not(self, made_up, monkeypatch, num, band, message):
        monkeypatch.setattr(sampled_students, "IN_VAIN", 60)
        with pytest.raises(ValueError, match=message):
            distinct_students(RECIPE, num, band)

    def test_all_of_a_large_space(self):
        with pytest.raises(ValueError, match=r"takes at most 10,000, and the questions of .* have [\d,]+ combinations"):
            distinct_students(toy(), None)

    @pytest.mark.parametrize(
        "arms, message",
        [
            ((PLAIN, arm("again", strategy=None, baseline=toy().baseline)), "'plain' and 'again' do not differ"),
            ((PLAIN, arm("wide", space=ReID(backbone=Small(), embedding_dim=16))), "of one space, .*plain and wide"),
            ((arm("control", controls=("random-cell",)),), "the arm 'control': a table has .* leave --controls out"),
        ],
    )
    def test_designs(self, arms, message):
        with pytest.raises(ValueError, match=message):
            TableDesign(arms=arms, seeds=1, architectures=2)

    def test_a_table_of_something_else(self, tmp_path, made_up):
        tabulation(tmp_path)
        for other in ({"seeds": 3}, {"num": None}):
            with pytest.raises(ValueError, match=r"is of something else .*give --out another folder"):
                tabulation(tmp_path, **other)
        with pytest.raises(ValueError, match="is of something else"):
            tabulation(tmp_path, PLAIN)
