"""What `nas show` says of a search, ended or not, and the runs that its entries make."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.cli.find_recipe import recipe_named
from nas.cli.show import in_short, strategy_name
from nas.models.network import FeatureNet, Network
from nas.run import Run
from nas.stages.search_entry import entry_run
from nas.strategies import STRATEGIES
from nas.strategies.discrete import DiscreteSearch
from nas.system.config import encode
from search_spaces.architecture import Architecture
from tests.nas.cli.program import nas

CPU = ["--machine.device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose search has ended; its teacher is another run's."""
    folder = tmp_path_factory.mktemp("show")
    assert (
        nas(
            "teach",
            "toy",
            "--teacher.net.backbone.width",
            0.0625,
            "--teacher.training.epochs",
            1,
            *CPU,
            "--out",
            folder / "taught",
        )
        == 0
    )
    assert (
        nas(
            "search",
            "toy",
            "--teacher.weights",
            folder / "taught" / "teacher.safetensors",
            "--strategy.epochs",
            1,
            *CPU,
            "--out",
            folder / "run",
        )
        == 0
    )
    return folder / "run"


@pytest.fixture
def shown(capfd):
    """What `nas show` prints as JSON."""

    def show(folder: Path, *arguments: object) -> dict:
        capfd.readouterr()
        assert nas("show", folder, "--json", *arguments) == 0
        return json.loads(capfd.readouterr().out)

    return show


@pytest.fixture
def fails(capfd):
    """What a command that must fail says."""

    def check(*arguments: object) -> str:
        capfd.readouterr()
        assert nas(*arguments) == 2
        out, err = capfd.readouterr()
        assert out == "" and "Traceback" not in err
        return " ".join(err.replace("│", " ").split())

    return check


def hashes(entries: list[dict]) -> list[str]:
    return [entry["architecture"]["hash"] for entry in entries]


def toy_run(folder: Path, strategy: str = "random") -> Run:
    """The toy's configuration with a strategy, and nothing else."""
    recipe = replace(recipe_named("toy")[1], strategy=STRATEGIES[strategy], teacher=None)
    made = Run(folder, "toy", recipe)
    made.note_recipe()
    return made


def samples(number: int) -> list[Architecture]:
    space = recipe_named("toy")[1].space.with_ids(1)
    return [space.sample(np.random.default_rng(seed)) for seed in range(number)]


def two_samples() -> list[dict]:
    return [each.to_dict() | {"hash": each.hash} for each in samples(2)]


def write_found(folder: Path, best: dict, **lists: object) -> None:
    """The end of a search, in the words of its files."""
    (folder / "architectures.json").write_text(
        json.dumps({"format": 1, "ranked": [{"score": 1, "architecture": best}]} | lists)
    )
    (folder / "architecture.json").write_text(json.dumps(best))


def write_trials(made: Run, scores: list[float], costs: list[float]) -> list[Architecture]:
    tried = samples(len(scores))
    lines = [
        {"epoch": i, "score": score, "cost": cost, "seconds": 30.0, "architecture": architecture.to_dict()}
        for i, (score, cost, architecture) in enumerate(zip(scores, costs, tried, strict=True))
    ]
    (made.folder / "search.history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tried


class TestEnded:
    @pytest.mark.medium
    def test_the_ranked_list_as_the_search_left_it(self, run, shown):
        said = shown(run)
        written = json.loads((run / "architectures.json").read_text())
        assert said["finished"] and said["value"] == written["value"] and said["num_ranked"] == 20
        assert said["strategy"] == "darts" and said["done"] == {"epochs": 1, "trials": 0}
        assert said["minutes"] == json.loads((run / "environment.json").read_text())["minutes"]["search"]
        assert [entry["entry"] for entry in said["ranked"]] == [str(place) for place in range(1, 11)]
        for entry, line in zip(said["ranked"], written["ranked"][:10], strict=True):
            student = {key: entry[key] for key in ("parameters", "multiply_adds")}
            assert {key: entry[key] for key in ("score", "cost", "architecture")} | {"student": student} == line
        assert hashes(shown(run, "--top", 3)["ranked"]) == hashes(said["ranked"])[:3]

    @pytest.mark.medium
    def test_an_entry_costs_what_its_student_costs(self, run, shown):
        space = Run.open(run).recipe.retrained.with_ids(6)
        for entry in shown(run, "--top", 3)["ranked"]:
            net = FeatureNet(space.student(Architecture.from_dict(entry["architecture"])))
            assert entry["parameters"] == sum(p.numel() for p in net.parameters())

    @pytest.mark.medium
    def test_for_people(self, run, shown, capfd):
        best = hashes(shown(run, "--top", 3)["ranked"])
        assert nas("show", run, "--top", 2) == 0
        out = capfd.readouterr().out
        assert "darts, 1 of 1 epochs" in out and f"{run}/architectures.json" in out and "--entry 2" in out
        assert re.search(r"backbone\.normal cell of entry 1: depth \d, width \d, \d+ paths", out)
        assert [word in out for word in best[:3]] == [True, True, False]

    @pytest.mark.medium
    def test_nothing_that_trains_is_imported(self, run):
        script = (
            "import sys; from nas.cli.main import main; status = main(sys.argv[1:]);"
            "print(status, *sorted({'torch', 'optuna', 'matplotlib', 'nas.recipe', 'nas.run'} & sys.modules.keys()))"
        )
        command = [sys.executable, "-c", script, "show", str(run)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "darts, 1 of 1 epochs" in said and said.splitlines()[-1] == "0"

    @pytest.mark.medium
    def test_what_a_student_costs_is_counted_where_the_file_does_not_say(self, run, shown, tmp_path):
        shutil.copytree(run, tmp_path / "run")
        path = tmp_path / "run" / "architectures.json"
        written = json.loads(path.read_text())
        for line in written["ranked"][1:]:
            line.pop("student", None)
        path.write_text(json.dumps(written))
        assert shown(tmp_path / "run") == shown(run) | {"run": str(tmp_path / "run")}

    @pytest.mark.medium
    def test_the_costs_of_another_recipes_students_are_not_shown(self, run, shown, tmp_path):
        shutil.copytree(run, tmp_path / "run")
        path = tmp_path / "run" / "config.json"
        written = json.loads(path.read_text())
        written["config"]["images"]["height"] *= 2
        path.write_text(json.dumps(written))
        before, after = shown(run)["ranked"][0], shown(tmp_path / "run")["ranked"][0]
        assert after["parameters"] == before["parameters"]
        assert after["multiply_adds"] == pytest.approx(2 * before["multiply_adds"], rel=0.1)

    @pytest.mark.medium
    def test_a_file_of_an_earlier_version(self, run, shown, tmp_path):
        made = toy_run(tmp_path, "darts")
        written = json.loads((run / "architectures.json").read_text())
        old = [{"score": line["score"], "architecture": line["architecture"]} for line in written["ranked"]]
        write_found(tmp_path, old[0]["architecture"], ranked=old)
        said = shown(made.folder, "--top", 2)
        assert hashes(said["ranked"]) == hashes(old)[:2] and said["value"] == "log weight" and said["front"] == []
        assert said["ranked"][0]["cost"] is None and said["minutes"] is None

    @pytest.mark.medium
    def test_a_front_and_notes(self, shown, tmp_path, capfd):
        made, (one, two) = toy_run(tmp_path), two_samples()
        good, cheap = (
            {"score": score, "cost": cost, "architecture": architecture}
            for score, cost, architecture in ((0.5, 9.0, one), (0.25, 1.5, two))
        )
        write_found(
            tmp_path,
            one,
            value="mAP",
            cost="latency_ms",
            ranked=[good, cheap],
            front=[cheap, good],
            notes={"kendall_tau": 0.625},
        )
        said = shown(made.folder)
        assert [entry["entry"] for entry in said["front"]] == ["front:1", "front:2"]
        assert hashes(said["front"]) == hashes(said["ranked"])[::-1] and said["notes"] == {"kendall_tau": 0.625}
        assert nas("show", made.folder) == 0
        out = capfd.readouterr().out
        assert all(word in out for word in ("50.0", "25.0", "ms, searched", "1.50", "kendall_tau: 0.625"))


class TestNotEnded:
    @pytest.mark.medium
    def test_trials_so_far_best_first(self, shown, tmp_path, capfd):
        scores, costs = [0.2, 0.6, 0.4, 0.5], [5.0, 9.0, 3.0, 9.5]
        tried = write_trials(toy_run(tmp_path), scores, costs)
        said = shown(tmp_path)
        assert not said["finished"] and said["minutes"] == 2.0 and said["done"] == {"epochs": 0, "trials": 4}
        assert hashes(said["ranked"]) == [tried[i].hash for i in (1, 3, 2, 0)]
        unbeaten = [
            i for i in range(4) if not any(scores[j] >= scores[i] and costs[j] <= costs[i] for j in range(4) if j != i)
        ]
        assert hashes(said["front"]) == [tried[i].hash for i in sorted(unbeaten, key=costs.__getitem__)]
        assert nas("show", tmp_path) == 0
        assert "random, 4 of 100 trials, 2.0 minutes" in (out := capfd.readouterr().out) and "has not ended" in out

    @pytest.mark.medium
    def test_the_prediction_of_a_search_by_gradient(self, run, shown, tmp_path):
        made = toy_run(tmp_path, "gdas")
        (tmp_path / "search.history.jsonl").write_text((run / "search.history.jsonl").read_text())
        said = shown(made.folder)
        assert hashes(said["ranked"]) == [json.loads((run / "architecture.json").read_text())["hash"]]
        assert not said["finished"] and said["strategy"] == "gdas" and said["minutes"] is None

    def test_a_supernet_that_predicts_nothing_yet(self, shown, tmp_path, capfd):
        made = toy_run(tmp_path, "single_path")
        (tmp_path / "search.history.jsonl").write_text('{"epoch": 0, "lr": 0.1}\n')
        said = shown(made.folder)
        assert said["ranked"] == [] and said["done"] == {"epochs": 1, "trials": 0}
        assert nas("show", tmp_path) == 0
        assert "nothing to show" in (out := capfd.readouterr().out) and "1 of 120 epochs, 0 of 200 trials" in out

    def test_an_entry_of_it_cannot_be_taken(self, fails, tmp_path):
        write_trials(toy_run(tmp_path), [0.2], [5.0])
        assert "has no result of a search yet" in fails("draw", tmp_path, "--entry", 1)
        assert not (tmp_path / "entry-1").exists()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_called_as_the_command_line_calls_it(name):
    assert strategy_name(encode(STRATEGIES[name])) == name


def test_whether_a_budget_is_trials_alone_is_seen_in_the_strategys_fields():
    by_trials = {name for name, strategy in STRATEGIES.items() if isinstance(strategy, DiscreteSearch)}
    assert {name for name, strategy in STRATEGIES.items() if "pruning" in encode(strategy)} == by_trials


def test_an_own_strategy_is_called_as_its_class():
    assert strategy_name({"kind": "Mine", "epochs": 3}) == "Mine"


class TestErrors:
    def test_what_is_no_run(self, fails, tmp_path):
        assert "is not a run" in fails("show", tmp_path)

    def test_before_the_search(self, fails, tmp_path):
        toy_run(tmp_path)
        assert f"`nas search toy --out {tmp_path}` comes first" in fails("show", tmp_path)

    @pytest.mark.medium
    def test_a_list_of_nothing(self, fails, run):
        assert "--top must be at least 1" in fails("show", run, "--top", 0)

    @pytest.mark.parametrize(
        "text", ["[]", '{"format": 99}', '{"ranked": [{"score": 1}]}', '{"ranked": [{"architecture": 1}]}']
    )
    def test_a_damaged_list(self, fails, tmp_path, text):
        toy_run(tmp_path)
        (tmp_path / "architecture.json").write_text("{}")
        (tmp_path / "architectures.json").write_text(text)
        assert "architectures.json does not list what a search found" in fails("show", tmp_path)

    def test_a_damaged_history(self, fails, tmp_path):
        toy_run(tmp_path)
        for text, message in (("{\n", "is not JSON"), ("[1]\n", "must hold a JSON object, and holds a list")):
            (tmp_path / "search.history.jsonl").write_text('{"epoch": 0}\n' + text)
            said = fails("show", tmp_path)
            assert "line 2 of" in said and f"search.history.jsonl {message}" in said
        (tmp_path / "search.history.jsonl").write_text('{"epoch": 0, "score": "high"}\n')
        assert "search.history.jsonl is not as this version" in fails("show", tmp_path)
        (tmp_path / "search.history.jsonl").write_text('{"epoch": 0}\n{"epoch": 1, "sco')
        assert nas("show", tmp_path) == 0

    @pytest.mark.medium
    @pytest.mark.parametrize("entry", ["0", "21", "front:1", "two", "-1", "1.0"])
    def test_an_entry_that_is_not_there(self, fails, run, entry):
        said = fails("retrain", run, f"--entry={entry}", *CPU)
        assert "--entry must be N from 1 to 20 (this search has no front), not" in said and "nas show" in said


class TestEntries:
    @pytest.mark.medium
    def test_one_is_retrained_and_evaluated_as_a_run_of_its_own(self, run, capfd):
        assert nas("retrain", run, "--entry", 2, "--retrain.epochs", 1, *CPU, "--json") == 0
        said = json.loads(capfd.readouterr().out)
        own, second = Run.open(run / "entry-2"), json.loads((run / "architectures.json").read_text())["ranked"][1]
        assert said["run"] == str(run / "entry-2")
        assert json.loads((run / "entry-2" / "architecture.json").read_text()) == second["architecture"]
        assert Network.load(run / "entry-2" / "student.safetensors").architecture.hash == second["architecture"]["hash"]
        assert own.recipe.strategy is None and own.recipe.baseline is None
        assert own.recipe.teacher.weights == (run.parent / "taught" / "teacher.safetensors").resolve()
        assert nas("evaluate", run / "entry-2", "--evaluation.num-strips", 1, *CPU, "--json") == 0
        roles = [row["role"] for row in json.loads(capfd.readouterr().out)["metrics"]["rows"]]
        assert roles == ["teacher", "student"] and not (run / "student.safetensors").exists()

    @pytest.mark.medium
    def test_one_is_drawn(self, run, capfd):
        assert nas("draw", run, "--entry", 1, "--json") == 0
        said = json.loads(capfd.readouterr().out)
        assert said["architecture"] == json.loads((run / "architecture.json").read_text())
        assert {Path(path).parent for path in said["pictures"]} == {run / "entry-1"}

    def test_one_of_the_front_listens_to_the_runs_own_teacher(self, tmp_path):
        one, two = two_samples()
        Run(tmp_path, "toy", recipe_named("toy")[1]).note_recipe()
        write_found(tmp_path, one, front=[{"score": s, "cost": s, "architecture": a} for s, a in ((0, two), (1, one))])
        assert nas("draw", tmp_path, "--entry", "front:1", "--json") == 0
        own = Run.open(tmp_path / "entry-front-1")
        assert own.architecture().hash == two["hash"]
        assert own.recipe.teacher.weights == (tmp_path / "teacher.safetensors").resolve()

    @pytest.mark.medium
    def test_one_of_an_earlier_search_is_kept(self, fails, tmp_path):
        made, (one, two) = toy_run(tmp_path), two_samples()
        write_found(tmp_path, one)
        assert nas("draw", made.folder, "--entry", 1, "--json") == 0
        write_found(tmp_path, two)
        assert f"holds {one['hash']} of another search" in fails("draw", tmp_path, "--entry", 1)
        assert nas("draw", made.folder, "--entry", 1, "--overwrite", "--json") == 0
        assert json.loads((tmp_path / "entry-1" / "architecture.json").read_text()) == two

    def test_an_entrys_folder_has_no_search_of_its_own(self, fails, tmp_path):
        toy_run(tmp_path)
        write_found(tmp_path, two_samples()[0])
        own = entry_run(Run.open(tmp_path), "1")
        assert f"its recipe takes {own.folder.resolve()}/architecture.json" in fails("show", own.folder)


def test_decisions_in_short():
    assert in_short({"a.2": ["sep3@0", "skip@1"], "a.3": ["sep3@0", "sep3@2"]}) == "3 sep3, 1 skip"
    assert in_short({"b1.op": "k3e6", "b1.width": 0.5, "b2.op": "k3e6", "b2.width": 0.5, "flag": True}) == (
        "2 k3e6, 2 width 0.5, 1 flag True"
    )


@pytest.mark.medium
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"epoch": None}, "line 1 must have an epoch"),
        ({"epoch": "0"}, "epoch of line 1 must be a finite number, not '0'"),
        ({"score": float("nan")}, "score of line 1 must be a finite number"),
        ({"seconds": 10**400}, "search.history.jsonl"),
        ({"predicted": ["x"]}, "predicted of line 1 must be a text"),
        ({"decisions": {"backbone.normal.2": "9" * 50}}, "backbone.normal.2 must be 2 of"),
    ],
    ids=str,
)
def test_an_odd_line_of_the_history_is_named(run, tmp_path, fails, line, said):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / "architectures.json").unlink()
    first = json.loads((folder / "search.history.jsonl").read_text().splitlines()[0])
    (folder / "search.history.jsonl").write_text(json.dumps(first | line) + "\n")
    found = fails("show", folder)
    assert said in found and "search.history.jsonl" in found


@pytest.mark.medium
@pytest.mark.parametrize("minutes", [[], {"search": "3"}, {"search": float("nan")}, {"search": True}], ids=str)
def test_odd_minutes_are_named(run, tmp_path, fails, minutes):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / "environment.json").write_text(json.dumps({"minutes": minutes}))
    assert "environment.json" in fails("show", folder)


def test_an_architecture_that_cannot_be_drawn_is_named(run, tmp_path, fails):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    found = json.loads((folder / "architecture.json").read_text())
    del found["decisions"]["backbone.normal.2"]
    (folder / "architecture.json").write_text(json.dumps(found))
    assert "architecture.json is not as this version" in fails("draw", folder)
