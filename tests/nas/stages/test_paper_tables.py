"""Rows of papers' tables that start from what another run has found, are re-ranked, or need no training."""

import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.metrics.rerank import Rerank
from nas.models.network import Network
from nas.run import Run
from nas.stages.paper_figures import paper_figure
from nas.stages.paper_table import paper_against_measured
from nas.stages.reproduce import _as_paper, measured_row, notes, plan_facts, reproduce, why_not_run, work_line
from nas.stages.table_plan import plan
from nas.stages.untrained import MEASURES, untrained
from nas.study.published import Published
from nas.system.files import read_object, write_json, write_text
from nas.tasks.reid.settings import Evaluation
from runs.recipes import fast_reid
from runs.tables import PAPERS, UNTRAINED
from search_spaces.cost.counting import cost
from students.space import StudentSpace


def rows_of(paper, table):
    return {row.name: row for row in PAPERS[paper][table]()}


def parameters(space: StudentSpace) -> int:
    with torch.device("meta"):
        return sum(each.numel() for each in space.student().inference().parameters())


def counted(row):
    """What the table would show beside the paper's parameters, of a network that has been measured: without its
    classifier."""
    space = row.recipe.retrained.with_ids(7)
    with torch.device("meta"):
        net = space.student().inference()
    without = parameters(space) - sum(each.numel() for each in net.classifier.parameters())
    return _as_paper(row, {"parameters": without})


@pytest.mark.parametrize(
    ("name", "millions"),
    [("CNN, VeRi-776", 1.01), ("SDC-CNN, LSR, VehicleID 800", 10.86), ("ResNet-18, LSR, LS = 1, VeRi-776", 11.46)],
)
def test_table_1_of_vrkd_is_counted_as_the_paper_does(name, millions):
    row = rows_of("vrkd", "table1")[name]
    assert row.paper["parameters"] == pytest.approx(1e6 * millions)
    assert round(counted(row) / 1e6, 2) == millions


@pytest.mark.parametrize("network", ["MobileNetV2", "ShuffleNetV2", "OSNet"])
def test_table_1_of_ksl_is_counted_as_the_paper_does(network):
    """To its one decimal, of which it prints 1.2 for ShuffleNetV2's 1.25 M; its multiply-adds to 5 %, as torchreid's
    MobileNetV2 has a convolution more."""
    table = rows_of("ksl", "table1")
    row = table[f"{network}, alone, Market-1501"]
    assert counted(row) == pytest.approx(row.paper["parameters"], abs=0.055e6)
    if "multiply_adds" in row.paper:
        with torch.device("meta"):
            net = row.recipe.retrained.with_ids(7).student()
        assert cost(net.backbone, 256, 128).multiply_adds == pytest.approx(row.paper["multiply_adds"], rel=0.05)
        branched = table[f"{network}, KSL, Market-1501"]
        assert counted(branched) == counted(row) and branched.paper["parameters"] == row.paper["parameters"]


def mobilenet(num_classes):
    """The first MobileNet (Howard et al. 2017, Table 1)."""

    def conv(c_in, c_out, kernel, stride, groups=1):
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)
        )

    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    layers, c_in = [conv(3, 32, 3, 2)], 32
    for c_out, stride in blocks:
        layers += [conv(c_in, c_in, 3, stride, c_in), conv(c_in, c_out, 1, 1)]
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, num_classes))


def test_table_1_of_fast_reid_is_the_first_mobilenets(tmp_path, monkeypatch):
    """Which its paper does not say. The 1.19 % of its only 3x3 convolution of all channels are 1.91 %: with what is
    printed the multiply-adds add up to 99.29 %."""
    with torch.device("meta"):
        net = mobilenet(1000)
    monkeypatch.setattr("nas.stages.untrained._network", lambda row, num_ids: net)
    monkeypatch.setattr("nas.stages.untrained.image_size", lambda task, recipe: (224, 224))
    results = untrained("layer_shares", PAPERS["fast_reid"]["table1"](), tmp_path)
    printed = {result["name"]: result["paper"]["multiply_adds_share"] for result in results}
    assert sum(printed.values()) == pytest.approx(0.9929) and printed["conv 3x3"] == pytest.approx(0.0119)
    printed["conv 3x3"] += 1 - 0.9929
    for result in results:
        assert result["multiply_adds_share"] == pytest.approx(printed[result["name"]], abs=5e-4)
        assert result["parameters_share"] == pytest.approx(result["paper"]["parameters_share"], abs=5e-4)


def test_layer_shares_are_those_of_mobilenet_v2(tmp_path, capsys):
    assert main(["reproduce", "fast_reid", "table1", "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert sum(row["parameters_share"] for row in rows) == pytest.approx(1)
    assert sum(row["multiply_adds_share"] for row in rows) == pytest.approx(1)
    classifier = {row["name"]: row for row in rows}["fully connected"]
    with torch.device("meta"):
        net = fast_reid.STUDENT.with_ids(751).student()
    weights = sum(each.numel() for each in net.parameters() if each.ndim > 1)
    assert classifier["parameters_share"] == pytest.approx(1280 * 751 / weights)
    assert main(["reproduce", "fast_reid", "table1", "--out", str(tmp_path)]) == 2
    assert "holds a table" in capsys.readouterr().err
    assert main(["reproduce", "fast_reid", "table1", "--out", str(tmp_path), "--overwrite"]) == 0
    assert "conv 1x1 | 94.86" in (tmp_path / "table.md").read_text()


@pytest.mark.medium
def test_networks_are_timed_beside_the_first(tmp_path, capsys):
    arguments = ["reproduce", "vrkd", "figure5", "--small", "--rows", "ResNet-18", "--out", str(tmp_path)]
    assert main([*arguments, "--plan"]) == 0
    assert capsys.readouterr().out.startswith("0 trainings and 0 teachers to train, 2 rows to measure, in ")
    assert main([*arguments, "--seeds", "2"]) == 2
    assert "nothing of this table is trained" in capsys.readouterr().err and not (tmp_path / "table.json").exists()
    assert main(arguments) == 0
    written = (tmp_path / "table.md").read_text()
    assert "ms, batch 128" in written and "(%), paper" in written and (tmp_path / "times.svg").exists()
    student, teacher = read_object(tmp_path / "table.json")["rows"]
    assert student["share"] == 1 and "share" not in student["paper"]
    assert teacher["share"] == student["ms_per_image_128"] / teacher["ms_per_image_128"]
    assert teacher["parameters"] > 4 * 11e6 > student["parameters"] and teacher["paper"] == {"share": 0.25}
    assert student["timing"]["height"] == 40 and not (tmp_path / "times.ckpt").exists()


def test_killed_timings_go_on_behind_the_rows_that_are_measured(tmp_path, monkeypatch):
    rows, asked = PAPERS["vrkd"]["figure5"](), []

    def timed(row):
        asked.append(row.name)
        if asked.count(row.name) == 1 and row.name == rows[1].name:
            raise KeyboardInterrupt
        return {"ms_per_image_128": float(len(asked))}

    monkeypatch.setattr("nas.stages.untrained._timed", timed)
    with pytest.raises(KeyboardInterrupt):
        MEASURES["times"][0](rows, tmp_path)
    results = MEASURES["times"][0](rows, tmp_path)
    assert asked == [rows[0].name, rows[1].name, *(row.name for row in rows[1:])]
    assert [result["share"] for result in results] == [1 / result["ms_per_image_128"] for result in results]


def test_each_untrained_table_has_a_measure():
    known = {(paper, table) for paper, tables in PAPERS.items() for table in tables}
    assert set(UNTRAINED) <= known and set(UNTRAINED.values()) == set(MEASURES)
    with pytest.raises(ValueError, match="there is no measure 'tims' .did you mean 'times'"):
        untrained("tims", [], None)


def test_a_reranked_row_is_another_row_of_the_same_run(tmp_path):
    rows = rows_of("ksl", "table2")
    plain, reranked = (rows[f"OSNet, KSL{how} (paper: CMSNet), Duke"] for how in ("", ", re-ranked"))
    assert plain.is_same_run(reranked) and plain.recipe.evaluation.rerank and not plain.reranked
    metrics = {"rows": [{"role": "teacher"}, {"role": "student", "mAP": 0.1}]}
    assert measured_row(plain, metrics) == {"role": "student", "mAP": 0.1}
    unranked = replace(reranked, recipe=replace(reranked.recipe, evaluation=Evaluation()))
    [reason] = why_not_run([replace(unranked, recipe=unranked.recipe.small())]).values()
    assert reason == "it is about what re-ranking gives: leave out --evaluation.no-rerank"
    again = {"role": "student", "rerank": {}, "mAP": 0.2}
    assert measured_row(reranked, {"rows": [*metrics["rows"], again]}) == again
    facts = plan_facts(plan([*rows.values()], tmp_path))
    assert (facts["trainings"], facts["teachers"], len(facts["steps"])) == (9, 0, 13)


def test_columns_of_costs_and_minutes():
    paper = {"mAP": 0.5, "rank20": 0.9, "minutes": 25.0, "multiply_adds": 2e9}
    runs = [{"mAP": 0.4, "rank1": 0.5, "rank20": 0.8, "minutes": 3.0, "multiply_adds": 10**9, "parameters": 10**6}]
    result = {"name": "A", "paper": paper, "runs": runs, "paper_runs": [], "same_as": None, "not_run": None}
    table = paper_against_measured([result, {**result, "name": "B", "paper": {}, "runs": []}])
    assert table.columns[3:] == (
        *("rank-20 paper", "rank-20 measured", "mAP paper", "mAP measured", "minutes paper", "minutes measured"),
        *("MACs paper", "parameters", "MACs"),
    )
    assert table.rows[0].cells[3:] == ("90.0", "80.0", "50.0", "40.0", "25", "3", "2.00 G", "1.00 M", "1.00 G")
    assert set(table.rows[1].cells[1:]) == {"–"}


def test_the_tables_of_kdas_share_what_they_start_from(tmp_path):
    steps = {table: plan(PAPERS["kdas"][table](), tmp_path, 2) for table in ("table2", "table3", "table4")}
    facts = {table: plan_facts(each) for table, each in steps.items()}
    assert {table: (f["trainings"], f["teachers"], f["architectures"]) for table, f in facts.items()} == {
        "table2": (4, 2, 2),
        "table3": (8, 5, 2),  # of both boxes for each seed of the teachers' rows, and Market-1501's for the search
        "table4": (4, 3, 2),
    }
    found = {step.found_in.folder for each in steps.values() for step in each if step.found_in}
    assert len(found) == 2, "the tables would find the same in one folder"
    assert all(step.recipe.retrain.sampling.num_ids == 16 for step in steps["table4"] if step.found_in)
    assert "An architecture is searched and pretrained once for all seeds" in " ".join(notes(steps["table4"]))
    assert "2 architectures to search or pretrain before, " in work_line(steps["table2"], tmp_path)


def test_what_is_not_pretrained_is_said_before_any_work(tmp_path, capsys):
    arguments = ["reproduce", "kdas", "table2", "--small", "--rows", "Auto", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--retrain.pretrained", "imagenet"]) == 2
    assert "give --pretraining.data a folder with train/CLASS and val/CLASS" in capsys.readouterr().err
    nowhere = ["--retrain.pretrained", "imagenet", "--pretraining.data", "nowhere"]
    assert main([*arguments, *nowhere]) == 2
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.fixture
def classes(tmp_path):
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 1)):
        for name in ("car", "dog"):
            (tmp_path / "classes" / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "classes" / split / name / f"{i}.png")
    return tmp_path / "classes"


@pytest.mark.medium
def test_students_start_from_what_another_run_has_found_and_pretrained(classes, tmp_path):
    """Of two data sets, without and with re-ranking: one search, one pretraining."""
    searching = replace(recipe_named("toy")[1], baseline=None)
    how = replace(searching.pretraining, data=classes, epochs=1, size=32, batch_size=4)
    searching = replace(searching, pretraining=how)
    training = replace(searching.retrain, pretrained="imagenet", epochs=1)
    recipe = replace(searching, strategy=None, retrain=training, evaluation=Evaluation(rerank=True, reranking=Rerank()))
    other = replace(recipe, data=replace(recipe.data, num_train_ids=recipe.data.num_train_ids + 1))
    rows = [
        Published(name="A", recipe=recipe, found_by=searching, paper={"mAP": 0.5}),
        Published(name="A, re-ranked", recipe=recipe, found_by=searching, reranked=True),
        Published(name="B", recipe=other, found_by=searching),
    ]
    assert (
        "its architecture is pretrained first" in why_not_run([replace(rows[0], found_by=recipe_named("toy")[1])])["A"]
    )
    results = reproduce(rows, tmp_path / "out")
    [found] = {run["found_in"] for result in results for run in result["runs"]}
    source = Run.open(tmp_path / "out" / found)
    for name in ("a-seed0", "b-seed0"):
        run = Run.open(tmp_path / "out" / name)
        assert run.recipe.architecture == source.folder / "architecture.json"
        assert run.recipe.retrain.pretrained == str(source.folder / "pretrained.safetensors")
        assert Network.load(run.folder / "student.safetensors").architecture == source.architecture()
        assert not (run.folder / "architecture.json").exists()
    assert "rerank" in results[1]["runs"][0] and "rerank" not in results[0]["runs"][0]
    assert results[0]["runs"][0]["minutes"] >= 0
    written = (source.folder / "pretrained.safetensors").stat().st_mtime_ns
    assert reproduce(rows, tmp_path / "out") == results
    assert (source.folder / "pretrained.safetensors").stat().st_mtime_ns == written


def test_two_settings_have_a_panel_each():
    rows = rows_of("vrkd", "figure6")
    results = [{"name": name, "runs": [{"mAP": row.paper["mAP"]}] if row.paper else []} for name, row in rows.items()]
    assert len(rows) == 30 and sum(bool(row.paper) for row in rows.values()) == 6
    left, right = paper_figure("settings")(results, None)["settings"].axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("T", "lambda")
    lines = {line.get_label(): line.lines[0].get_xydata().tolist() for line in right.containers}
    assert lines["ResNet-18"] == [[1.0, pytest.approx(74.67)]] and len(lines) == 3
    assert paper_figure("settings")([{"name": "T: CNN, 1", "runs": []}], None) == {}


def test_a_training_is_drawn_from_its_history(tmp_path):
    lines = [
        {"epoch": 0, "loss": {"total": 2.0, "triplet": 0.5}},
        {"epoch": 1, "loss": {"total": 1.0, "triplet": 0.25}},
    ]
    for folder, stage, further in (("s", "retrain", {"mAP": 0.25, "rank1": 0.5}), ("t", "teach", {})):
        history = [lines[0], lines[1] | further]
        write_text(tmp_path / folder / f"{stage}.history.jsonl", "".join(json.dumps(line) + "\n" for line in history))
    (tmp_path / "s" / "strips").mkdir()
    matplotlib.image.imsave(tmp_path / "s" / "strips" / "00.png", np.zeros((4, 20, 3), dtype=np.uint8))
    write_json(tmp_path / "t" / "metrics.json", {})
    results = [
        {"name": "Student", "runs": [{"role": "student", "trained_in": "s", "folder": "s", "teacher": "t"}]},
        {"name": "Teacher", "runs": [{"role": "teacher", "trained_in": "t", "folder": "t", "teacher": "t"}]},
        {"name": "Missing", "runs": []},
    ]
    drawn = paper_figure("trainings")(results, tmp_path)
    assert list(drawn) == ["losses-student", "accuracy-student", "queries-student", "losses-teacher"]
    accuracy = {
        line.get_label(): line.lines[0].get_xydata().tolist() for line in drawn["accuracy-student"].axes[0].containers
    }
    assert accuracy == {"mAP": [[2.0, 25.0]], "rank-1": [[2.0, 50.0]]}
    losses = {
        line.get_label(): line.lines[0].get_xydata().tolist() for line in drawn["losses-teacher"].axes[0].containers
    }
    assert losses["triplet"] == [[1.0, 0.5], [2.0, 0.25]]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as in the program: a toy's network may tell nobody apart, and it says so
def test_figures_5_to_10_through_the_command(tmp_path, capsys):
    arguments = ["reproduce", "fast_reid", "figures5-10", "--small", "--rows", "MobileNetV2", "--out", str(tmp_path)]
    assert main([*arguments, "--retrain.validate-every", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    names = {path.rpartition("/")[2] for path in said["pictures"]}
    assert {"losses-mobilenetv2.svg", "accuracy-mobilenetv2.svg", "queries-mobilenetv2.svg"} <= names
    alone, taught = said["rows"]
    assert alone["paper"]["minutes"] == taught["paper"]["minutes"] == 25 and alone["runs"][0]["minutes"] >= 0
    history = (tmp_path / alone["runs"][0]["trained_in"] / "retrain.history.jsonl").read_text().splitlines()
    assert all(0 <= json.loads(line)["rank1"] <= 1 for line in history) and len(history) == 2
