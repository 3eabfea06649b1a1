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
from nas.losses.oim import DetectorKD, OIMLoss
from nas.models.network import Network
from nas.run import DECIDES, Run
from nas.stages.paper_figures import paper_figure
from nas.stages.paper_table import paper_against_measured, rows_side_by_side
from nas.stages.reproduce import plan_facts, reproduce
from nas.stages.table_plan import folder_name, plan
from nas.stages.teacher import rehearse
from nas.study.published import Published
from nas.system.config import fingerprint
from nas.system.files import write_json, write_text
from nas.tasks.base import image_size
from runs.recipes.person_search import toy_street
from runs.tables import PAPERS, PICTURES, UNTRAINED
from runs.tables.rows import mean_of
from teachers.join import joined

TABLES = {(paper, table): rows() for paper, tables in PAPERS.items() for table, rows in tables.items()}
NUMBERS = {"rank1", "rank5", "rank10", "rank20", "mAP", "detection_AP", "detection_recall"}
COUNTS = {"parameters", "multiply_adds", "minutes"}
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
    assert len(set(names)) == len({folder_name(name) for name in names}) == len(names) > 1
    printed = [numbers for row in rows for numbers in (row.paper, *row.runs)]
    if table not in UNTRAINED:
        assert all(set(numbers) <= NUMBERS | COUNTS for numbers in printed)
        assert all(value > 1 if key in COUNTS else 0.1 < value < 1 for each in printed for key, value in each.items())
    assert all(row.recipe.evaluation.rerank for row in rows if row.reranked)
    assert all(row.recipe.teacher for row in rows if row.role == "teacher")
    assert all(row.recipe.baseline is None for row in rows), "no row is about it"
    assert all(name in names for row in rows for others in row.beside.values() for name in others)
    for row in rows:
        for space in {row.recipe.space, row.recipe.retrained}:
            if (space, row.recipe.images) not in KNOWN:
                with torch.device("meta"):
                    out = (
                        space.with_ids(7).student().eval()(torch.zeros(2, 3, *image_size(row.recipe.task, row.recipe)))
                    )
                assert out.logits.shape == (2, 7) if hasattr(out, "logits") else len(out.objectness) == 2


DISTILLED = {row.name: row for row in TABLES["kd_person_search", "table3"] if row.beside}


@pytest.mark.medium
@pytest.mark.parametrize("name", DISTILLED)
def test_a_distilled_student_of_person_search_fits_its_teachers(name):
    row, ids = DISTILLED[name], tuple(range(7))
    spaces = [recipe.teacher.net.with_ids(7) for recipe in row.members or (row.recipe,)]
    space = joined(spaces) if len(spaces) > 1 else spaces[0]
    with torch.device("meta"):
        teacher = Network(space.student(), space, None, ids)
    rehearse(row.recipe, teacher, "the teacher")


def test_the_tables_of_person_search_share_four_teachers(tmp_path):
    """Those that the paper names: a detector, and the identity tables of two networks of OIM and one of QEEPS."""
    steps = plan(TABLES["kd_person_search", "table1"], tmp_path, 3)
    assert plan_facts(steps)["trainings"] == 3 * 15
    taught = {teacher.folder for step in steps if step.student for teacher in step.teachers}
    assert len(taught) == 4
    both = next(step for step in steps if step.row.members)
    detector, oim = (
        next(step for step in steps if step.row.name == name).teachers
        for name in ("Faster R-CNN R50", "OIM R50, lambda 1")
    )
    assert both.teachers == (*detector, *oim)
    assert detector[0].recipe.teacher.net.embedding_dim is None and oim[0].recipe.teacher.net.embedding_dim == 256


def test_plain_networks_stand_beside_a_distilled_one():
    def result(name, paper, runs=(), beside=None):
        return {"name": name, "paper": paper, "runs": list(runs), "beside": beside or {}}

    printed = {"mAP": 0.8, "detection_AP": 0.9}
    results = [
        result("A, 1", {"mAP": 0.5, "detection_AP": 0.6}, [{"mAP": 0.4}, {"mAP": 0.6}]),
        result("A, 0.1", {}, [{"mAP": 0.3, "detection_AP": 0.7}, {"mAP": 0.3, "detection_AP": 0.8}]),
        result("A + KD, 0.1", printed, beside={"same": ["A, 0.1"], "best": ["A, 1", "A, 0.1"]}),
    ]
    table = rows_side_by_side(results)
    assert table.columns == (
        *("network", "whose", "mAP", "mAP, same", "mAP, best"),
        *("detection AP", "detection AP, same", "detection AP, best", "best is"),
    )
    assert [row.cells[1:] for row in table.rows] == [
        ("paper", "80.0", "–", "50.0", "90.0", "–", "60.0", "A, 1"),
        ("measured", "–", "30.0", "50.0", "–", "75.0", "–", "A, 1"),
    ]
    assert rows_side_by_side(results[:2]) is None


def test_a_detector_and_an_identity_table_teach_together(tmp_path):
    """Taught, joined, listened to and measured: nothing is replaced."""
    oim = replace(toy_street(), baseline=None)
    alone = replace(oim.teacher, net=replace(oim.space, embedding_dim=None))
    detector = replace(oim, teacher=alone, loss=OIMLoss(detector=DetectorKD()))
    student = replace(oim, loss=replace(oim.loss, detector=DetectorKD()))
    rows = [
        Published(name="Detector", recipe=detector, role="teacher"),
        Published(name="Both", recipe=student, members=(detector, oim), paper={"mAP": 0.5, "detection_AP": 0.5}),
    ]
    alone, both = reproduce(rows, tmp_path)
    [run] = both["runs"]
    assert run["teacher"].startswith(alone["runs"][0]["teacher"] + " and teacher-")
    assert "mAP" not in alone["runs"][0] and {"mAP", "rank1", "detection_AP", "detection_recall"} <= run.keys()
    table = Network.load(tmp_path / run["teacher"].split(" and ")[1] / "teacher.safetensors").net.identities.table
    learned = Network.load(tmp_path / run["folder"] / "student.safetensors").net.identities.table
    assert torch.equal(table, learned)
    assert "recall measured" not in paper_against_measured([both]).columns
    assert "detection AP measured" in paper_against_measured([both]).columns
    written = (tmp_path / "table.json").read_bytes()
    assert reproduce(rows, tmp_path) == [alone, both] and (tmp_path / "table.json").read_bytes() == written


@pytest.mark.medium
def test_distilled_person_search_through_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    rows = ["OIM R18, lambda 0.1", "OIM R18, lambda 1", "(OIM R18)"]
    arguments = ["reproduce", "kd_person_search", "table3", "--small", "--rows", *rows, "--out", str(tmp_path)]
    assert main([*arguments, "--plan"]) == 0
    assert capsys.readouterr().out.startswith("2 trainings and 1 teacher to train, 3 rows to measure, in ")
    assert main([*arguments, "--retrain.epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "recall paper" in out and "mAP, plain, same lambda" in out
    plain, alone, taught = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert (plain["name"], alone["name"]) == ("OIM R18, lambda 1", "OIM R18, lambda 0.1")
    assert all(0 <= row["runs"][0][key] <= 1 for row in (plain, alone, taught) for key in ("mAP", "detection_AP"))
    assert taught["runs"][0]["teacher"] == plain["runs"][0]["teacher"] and alone["runs"][0]["teacher"] is None


@pytest.fixture
def calls(monkeypatch):
    """What is trained and measured: the stages are replaced by ones that note their run."""
    made = []

    def metrics(run):
        values = {role: value + 0.01 * run.recipe.seed for role, value in MEASURED.items()}
        rows = [
            {"name": role, "role": role, "rank1": MEASURED[role], "mAP": values[role], "parameters": 7}
            for role in values
        ]
        found = {"format": 1, "data": "synthetic", "rows": rows}
        write_json(run.folder / "metrics.json", found)
        return found

    def run_all(run, overwrite=False):
        made.append(("train", run.folder.name, run.recipe.teacher and run.recipe.teacher.weights, overwrite))
        found = metrics(run)
        run.note_recipe()
        (run.folder / "student.safetensors").touch()
        return found

    def evaluate(run, overwrite, trained_in):
        made.append(("measure", run.folder.name, trained_in and trained_in.folder.name))
        return metrics(run)

    monkeypatch.setattr(nas.stages.reproduce, "run_all", run_all)
    monkeypatch.setattr(nas.stages.reproduce, "evaluate", evaluate)
    monkeypatch.setattr(nas.stages.reproduce, "report", lambda run: None)
    monkeypatch.setattr(nas.stages.reproduce, "teach_once", lambda run: made.append(("teach", run.folder.name)))
    return made


def rows_of(*recipes):
    return [Published(name=f"Row {number}", recipe=recipe, paper={"mAP": 0.5}) for number, recipe in enumerate(recipes)]


def test_networks_are_trained_once_and_results_land_one_by_one(tmp_path, calls):
    rows = [*rows_of(ALONE, RECIPE), Published(name="Teacher", recipe=RECIPE, role="teacher", paper={"rank1": 0.9})]
    results = reproduce(rows, tmp_path, num_seeds=2)
    first, second = dict.fromkeys(call[1] for call in calls if call[0] == "teach")
    weights = tmp_path / first / "teacher.safetensors"
    assert [call for call in calls if call[0] != "teach"] == [
        ("train", "row-0-seed0", None, False),
        ("train", "row-1-seed0", weights, False),
        ("measure", "teacher-seed0", None),
        ("train", "row-0-seed1", None, False),
        ("train", "row-1-seed1", weights, False),
        ("measure", "teacher-seed1", None),
    ]
    assert [[run["teacher"] for run in result["runs"]] for result in results] == [
        [None] * 2,
        [first] * 2,
        [first, second],
    ]
    assert [[run["rank1"] for run in result["runs"]] for result in results] == [[0.25] * 2, [0.25] * 2, [0.75] * 2]
    held = json.loads((tmp_path / "table.json").read_text())
    assert held["rows"] == results and "same for all seeds" in held["notes"][0]
    table = paper_against_measured(results)
    assert table.columns[:5] == ("network", "rank-1 paper", "rank-1 measured", "mAP paper", "mAP measured")
    assert table.rows[0].cells[:5] == ("Row 0", "–", "25.0 (25.0 to 25.0)", "50.0", "25.5 (25.0 to 26.0)")
    written = (tmp_path / "table.md").read_text()
    assert "Teacher | 90.0 | 75.0" in written and held["notes"][0] in written


def test_runs_stand_beside_the_papers_and_parameters_are_counted_as_it_does(tmp_path, calls):
    runs = tuple({"rank1": share, "mAP": share, "rank5": share + 0.1, "parameters": 5e6} for share in (0.5, 0.6, 0.7))
    row = Published(name="Arm", recipe=ALONE, paper=mean_of(runs), runs=runs, counted_ids=751)
    [result] = reproduce([row], tmp_path, num_seeds=2)
    student = ALONE.retrained.with_ids(751).student()
    whole = sum(parameter.numel() for parameter in student.parameters())
    without = whole - student.classifier.weight.numel()
    for run in result["runs"]:
        run["parameters"] = without
        assert nas.stages.reproduce._as_paper(row, run) == whole
        run["parameters_as_paper"] = whole
    table = paper_against_measured([result])
    assert table.columns[1:9] == (
        *("rank-1 paper", "rank-1 measured", "rank-5 paper", "rank-5 measured", "mAP paper", "mAP measured"),
        *("parameters paper", "as counted"),
    )
    assert [line.cells[0] for line in table.rows] == ["Arm", "Arm, run 1", "Arm, run 2"]
    assert table.rows[0].cells[1:4] == ("60.0", "25.0 (25.0 to 25.0)", "70.0")
    assert table.rows[2].cells[5:9] == ("60.0", "26.0", "5.00 M", f"{whole / 1e6:.2f} M")


def test_table_1_of_kdas_is_counted_as_the_paper_does():
    counted = {}
    for row in TABLES["kdas", "table1"]:
        if row.recipe.strategy is None and "parameters" in row.paper:
            with torch.device("meta"):
                student = row.recipe.retrained.with_ids(row.counted_ids).student()
            counted[row.name] = sum(parameter.numel() for parameter in student.parameters()) / 1e6
            assert counted[row.name] == pytest.approx(row.paper["parameters"] / 1e6, rel=0.01)
    assert [round(value, 2) for value in counted.values()] == [11.56, 21.67, 25.05, 9.03, 13.47]


TESTED = [replace(RECIPE, data=replace(RECIPE.data, num_test_ids=number)) for number in (4, 5)]


def test_what_differs_in_the_test_images_alone_is_trained_once(tmp_path, calls):
    kept = replace(RECIPE, evaluation=replace(RECIPE.evaluation, same_camera="keep"))
    results = reproduce(rows_of(*TESTED, kept), tmp_path)
    assert [call[:2] for call in calls if call[0] == "train"] == [("train", "row-0-seed0")]
    assert [call for call in calls if call[0] == "measure"] == [
        ("measure", "row-1-seed0", "row-0-seed0"),
        ("measure", "row-2-seed0", "row-0-seed0"),
    ]
    assert len({result["runs"][0]["teacher"] for result in results}) == 1
    assert "alone measure one network" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("changed", [{"seed": 7}, {"num_train_ids": 9}, {"label_noise": 0.1}, {"images_per_id": 7}])
def test_what_touches_the_training_images_is_trained_anew(tmp_path, changed):
    steps = plan(rows_of(RECIPE, replace(RECIPE, data=replace(RECIPE.data, **changed))), tmp_path)
    assert len({step.student.folder for step in steps}) == len({step.teachers[0].folder for step in steps}) == 2


@pytest.mark.parametrize(("table", "trainings", "teachers"), [("table1", 18, 6), ("table2", 6, 0), ("table3", 20, 4)])
def test_vrkd_trains_a_network_for_each_data_set(tmp_path, table, trainings, teachers):
    facts = plan_facts(plan(TABLES["vrkd", table], tmp_path))
    assert (facts["trainings"], facts["teachers"], len(facts["steps"])) == (
        trainings,
        teachers,
        len(TABLES["vrkd", table]),
    )


@pytest.mark.medium
def test_the_plan_is_shown_without_data_and_trains_nothing(tmp_path, capsys):
    command = ["reproduce", "vrkd", "table3", "--rows", "ResNet-18,", "--data", "nowhere", "--seeds", "3", "--plan"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 trainings and 2 teachers to train, 24 rows to measure, in ")
    assert out.count("not run now: 2 rows, ") == 4 and "nowhere" in out
    assert not list(tmp_path.iterdir())


def begun(folder, recipe, weights):
    """A run as earlier versions left it."""
    taught = replace(recipe, teacher=replace(recipe.teacher, weights=weights))
    run = Run(folder, folder.name, taught)
    run.note_recipe()
    write_text(folder / "student.safetensors", "")


def test_runs_that_are_there_go_on_as_they_are(tmp_path):
    """Earlier versions trained a student and a teacher for each test size and seed; all of them still count."""
    rows, seeds = rows_of(*TESTED), (0, 1)
    for number, recipe in enumerate(TESTED):
        for seed in seeds:
            of_seed = replace(recipe, seed=seed)
            teacher = tmp_path / f"teacher-{fingerprint(*(getattr(of_seed, name) for name in DECIDES['teach']))[:8]}"
            begun(tmp_path / f"row-{number}-seed{seed}", of_seed, teacher / "teacher.safetensors")
    steps = plan(rows, tmp_path, len(seeds))
    assert [step.student.folder for step in steps] == [step.folder for step in steps]
    assert [Run.open(tmp_path / step.folder).recipe.teacher.weights.parent.name for step in steps] == [
        step.teachers[0].folder for step in steps
    ]
    assert len({step.teachers[0].folder for step in steps}) == 4
    alone = plan(rows, tmp_path / "other")
    begun(
        tmp_path / "other" / "row-1-seed0",
        TESTED[1],
        tmp_path / "other" / alone[0].teachers[0].folder / "t.safetensors",
    )
    assert {step.student.folder for step in plan(rows, tmp_path / "other")} == {"row-1-seed0"}


def test_starting_again_does_so_once_for_a_recipe(tmp_path, calls):
    rows = rows_of(RECIPE, TESTED[1], RECIPE)
    reproduce(rows, tmp_path, overwrite=True)
    assert [call[3] for call in calls if call[0] == "train"] == [True]


def test_rows_without_data_are_left_out_and_said(tmp_path, calls):
    rows = rows_of(ALONE, replace(ALONE, data=Market1501(root=Path("nowhere"))))
    there, absent = reproduce(rows, tmp_path)
    assert len(calls) == 1 and len(there["runs"]) == 1 and there["not_run"] is None
    assert absent["runs"] == [] and "nowhere" in absent["not_run"]
    assert paper_against_measured([absent]).rows[0].cells[:3] == ("Row 1 (no data)", "–", "–")
    with pytest.raises(ValueError, match="nowhere"):
        reproduce(rows[1:], tmp_path)


@pytest.mark.medium
def test_through_the_command(tmp_path, calls, capsys):
    arguments = ["reproduce", "fast_reid", "table2", "--small", "--rows", "T = 5,", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["rows"]] == ["T = 5, alpha = 0.1", "T = 5, alpha = 0.3", "T = 5, alpha = 0.5"]
    assert len({call for call in calls if call[0] == "teach"}) == 1
    done = list(calls)
    assert main(arguments[:-1]) == 0
    out = capsys.readouterr().out
    assert calls == done  # the study has ended: nothing is done again
    assert out.startswith("3 trainings and 1 teacher to train (3 and 0 are finished), 3 rows to measure, in ")
    assert out.splitlines()[-1] == f"table page: {tmp_path / 'table.md'}"


@pytest.mark.medium
@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["ksl", "figure6", "--small", "--rows", "AUX"], [f"AUX, {share / 10}" for share in range(6)]),
        (["ksl", "table3", "--small", "--rows", "MobileNetV2, alone"], ["MobileNetV2, alone, ImageNet, Duke"]),
        (["fast_reid", "table2", "--small", "--rows", "= 0.1", "--loss.alpha", "0.5"], None),
        (["fast_reid", "table2", "--small", "--rows", "T = 5", "--loss.alpha", "0.5"], ["T = 5, alpha = 0.1"]),
    ],
)
def test_a_row_that_the_command_line_makes_equal_to_another_is_not_run(tmp_path, calls, arguments, left, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    run = [row["name"] for row in rows if row["runs"]]
    assert run == (left or [row["name"] for row in rows])
    assert all(row["same_as"] == run[0] and row["same_as"] in row["not_run"] for row in rows if not row["runs"])
    assert all(f"(same as {run[0]})" in line.cells[0] for line in paper_against_measured(rows).rows[len(run) :])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fast_red", "table2"], "no paper 'fast_red' (did you mean 'fast_reid'"),
        (["fast_reid", "tabel2"], "no table 'tabel2' (did you mean 'table2'"),
        (["fast_reid", "table3", "--small", "--rows", "VGG"], "the rows are MobileNetV2; MobileNetV2 + distillation; "),
        (["fast_reid", "table3", "--small", "--seeds", "0"], "seeds must be at least 1, not 0"),
        (["fast_reid", "table3", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_named(arguments, said, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_trade_off_of_person_search_is_drawn():
    rows = {row.name: row for row in TABLES["kd_person_search", "figure1"]}
    results = [{"name": name, "runs": [dict(row.paper)] if row.paper else []} for name, row in rows.items()]
    figure = paper_figure("trade_off")(results, Path())["trade-off"]
    left, right = figure.axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("R50", "R18")
    lines = {line.get_label(): line for line in right.containers}
    assert lines["OIM, search mAP"].lines[0].get_xydata().tolist() == [[0.6, 79.9], [1.0, 69.1]]
    assert lines["OIM + KD_reid, detection AP"].lines[0].get_xydata().tolist() == [[0.1, 80.6]]
    levels = [line.get_ydata()[0] for line in right.lines if line.get_linestyle() == "--"]
    assert levels == [82.4]
    assert paper_figure("trade_off")([{"name": "R50: OIM, 1", "runs": []}], Path()) == {}


def test_each_picture_is_of_a_table_and_can_be_drawn():
    assert set(PICTURES) <= set(TABLES) and all(callable(paper_figure(name)) for name in PICTURES.values())


def test_an_unknown_figure_is_named():
    with pytest.raises(ValueError, match="there is no figure 'weigths' .did you mean 'weights'"):
        paper_figure("weigths")


@pytest.mark.medium
def test_a_figure_is_drawn_of_the_runs(tmp_path, calls, capsys):
    arguments = ["reproduce", "ksl", "figure6", "--small", "--rows", "AUX", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == [str(tmp_path / "label-noise.svg")]
    assert "share of wrong labels" in (tmp_path / "label-noise.svg").read_text()


def test_help_lists_the_tables(capsys):
    assert main(["reproduce", "--help"]) == 0
    assert "fast_reid  table1, table2, table3, figures5-10" in capsys.readouterr().out
