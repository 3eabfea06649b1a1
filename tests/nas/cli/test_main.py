"""The `nas` program as a user meets it: one command, one answer, and errors that say what to do."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch

from nas import __version__
from nas.cli.commands import COMMANDS
from nas.cli.find_recipe import recipe_named, recipes
from nas.cli.main import main
from nas.cli.short_help import FIELDS, _fields
from nas.strategies import STRATEGIES
from tests.nas.cli.program import nas

OWN = '''
from dataclasses import dataclass, replace
from nas.recipe import Recipe
from runs.recipes.demo import toy
from search_spaces.space import (SearchSpace)
from search_spaces.cell import Cells
from students.reid import ReID

@dataclass(frozen=True, kw_only=True)
class Plainer(SearchSpace):
    """A space of the user's own."""
    channels: int = 2
    def build(self, pick, c_in=3):
        return Cells(channels=self.channels, cells=1, reductions=()).build(pick, c_in)

def mine() -> Recipe:
    """The toy without a teacher, in a space of my own."""
    recipe = toy()
    brief = replace(recipe.retrain, epochs=1, validate_every=0)
    return replace(recipe, teacher=None, baseline=None, space=ReID(backbone=Plainer(), embedding_dim=4), retrain=brief,
                   strategy=replace(recipe.strategy, epochs=1))
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A user's recipe file, as `path:function`."""
    path = tmp_path_factory.mktemp("own") / "own_recipe_of_the_cli_test.py"
    path.write_text(OWN)
    return f"{path}:mine"


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    """A finished run of the user's recipe."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert nas("run", own, "--out", folder, "--machine.device", "cpu") == 0
    return folder


@pytest.fixture
def fails(capfd):
    """Runs a command that must fail with status 2 and say why on standard error alone, without a traceback."""

    def check(*arguments: object) -> str:
        assert nas(*arguments) == 2
        out, err = capfd.readouterr()
        assert out == "" and "Traceback" not in err
        return " ".join(err.replace("│", " ").split())

    return check


class TestErrors:
    def test_unknown_command(self, fails):
        assert "there is no command 'serach' (did you mean 'search'" in fails("serach", "demo")

    def test_unknown_recipe(self, fails):
        assert "there is no recipe 'dmeo' (did you mean 'demo'" in fails("run", "dmeo")

    @pytest.mark.medium
    def test_unknown_field(self, fails, tmp_path):
        said = fails("run", "toy", "--strategy.epoch", 3, "--out", tmp_path / "run")
        assert "--strategy.epoch" in said and "--strategy.epochs" in said
        assert not (tmp_path / "run").exists()

    @pytest.mark.medium
    @pytest.mark.parametrize(
        ("field", "value"),
        [("--strategy.epochs", "three"), ("--seed", "1.5"), ("--machine.precision", "16"), ("--strategy.order", "3")],
    )
    def test_wrong_type(self, fails, field, value, tmp_path):
        assert field in fails("run", "toy", field, value, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_impossible_value(self, fails, tmp_path):
        assert "epochs must be at least 1" in fails("run", "toy", "--retrain.epochs", 0, "--out", tmp_path / "run")

    def test_a_folder_that_is_no_run(self, fails, tmp_path):
        for word in (word for word, command in COMMANDS.items() if command.subject == "RUN"):
            assert "is not a run: it has no config.json" in fails(word, tmp_path)

    @pytest.mark.medium
    def test_a_stage_whose_turn_has_not_come(self, fails, finished, tmp_path):
        (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
        assert "`nas search` comes first" in fails("retrain", tmp_path)
        assert "`nas search` comes first" in fails("draw", tmp_path)
        assert "comes first" in fails("evaluate", tmp_path)

    def test_a_teacher_that_was_never_trained(self, fails, tmp_path):
        assert "`nas teach toy --out" in fails("search", "toy", "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    @pytest.mark.medium
    def test_missing_data_comes_before_anything_is_written(self, fails, tmp_path):
        said = fails("run", "kdas", "--data.root", tmp_path / "nowhere", "--out", tmp_path / "run")
        assert str(tmp_path / "nowhere") in said.replace(" ", "") and not (tmp_path / "run").exists()

    def test_cuda_that_is_not_there(self, fails, own, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert "torch sees no CUDA device" in fails(
            "search", own, "--machine.device", "cuda", "--out", tmp_path / "run"
        )

    @pytest.mark.medium
    def test_a_damaged_configuration(self, fails, finished, tmp_path):
        data = json.loads((finished / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(data | {"format": 99}))
        assert "has format 99, this version reads 2" in fails("report", tmp_path)
        (tmp_path / "config.json").write_text("{")
        assert "config.json is not JSON" in fails("report", tmp_path)
        data["config"]["space"]["backbone"]["kind"] = "Plainest"
        (tmp_path / "config.json").write_text(json.dumps(data))
        assert "config.space.backbone is a 'Plainest', which is not known here" in fails("report", tmp_path)


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
    def test_overview_names_every_command_with_an_example(self, capfd, arguments):
        assert nas(*arguments) == 0
        out = capfd.readouterr().out
        assert all(f"nas {word}" in out and command.example in out for word, command in COMMANDS.items())

    @pytest.mark.parametrize("word", ["teach", "search", "run"])
    def test_a_commands_help_lists_the_recipes_fields_with_their_values(self, capfd, word):
        assert nas(word, "demo", "--help-all") == 0
        out = capfd.readouterr().out
        assert f"nas {word} demo" in out and COMMANDS[word].example in " ".join(out.split())
        for field in (
            "--seed",
            "--out",
            "--json",
            "--overwrite",
            "--strategy.epochs",
            "--space.backbone.channels",
            "--machine.device",
            "--teacher.weights",
        ):
            assert field in out
        assert "Processes that share" in out

    def test_the_short_help_is_of_the_data_set_that_is_named(self, capfd):
        assert nas("run", "demo", "--on", "csv", "--help") == 0
        assert "--data.file PATH" in (said := capfd.readouterr().out) and "required" in said
        assert nas("run", "kdas", "--on", "csv", "--help") == 0
        assert "--data.root" not in capfd.readouterr().out

    def test_the_short_help_fits_on_two_screens_and_names_what_can_be_chosen(self, capfd, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        assert nas("search", "kdas", "--help") == 0
        out = capfd.readouterr().out
        assert len(out.splitlines()) <= 80 and max(map(len, out.splitlines())) <= 100
        words = " ".join(out.split())
        for flag in ("--workers INT", "--space NAME", "--teacher FILE|RUN|NAME|None", "--seed INT", "--out PATH|None"):
            assert flag in words
        for choice in ("mobilenet_v2", "pc_darts", "market1501", "(now ResNet-50)", "{auto,cpu,cuda}", "default: 200"):
            assert choice in words
        assert "--strategy.eigenvalue-window" not in out and "`nas search kdas --help-all` lists every field" in out

    def test_it_names_what_is_there_for_the_recipes_task_with_what_was_changed(self, capfd):
        assert nas("run", "toy_street", "--strategy", "gdas", "--strategy.epochs", "3", "--help") == 0
        out = capfd.readouterr().out
        assert "cuhk_sysu" in out and "market1501" not in out and "kd_reid" in out and "vrkd" not in out
        assert "(now GDAS)" in " ".join(out.split())

    @pytest.mark.medium
    def test_each_flag_of_the_short_help_is_one(self):
        """Of every recipe together: a name that no recipe has is a slip."""
        recipes_of_all = [recipe_named(name)[1] for name in recipes()]
        recipes_of_all.append(replace(recipes_of_all[0], strategy=STRATEGIES["evolution"]))
        known = {flag.name for recipe in recipes_of_all for flag in _fields(recipe, None, True)}
        assert known >= {f"--{path.replace('_', '-')}" for path in FIELDS} - {"--data.file"}

    @pytest.mark.parametrize("word", ["teach", "retrain"])
    def test_without_a_subject_the_usage(self, capfd, word):
        assert nas(word) == 2
        assert f"usage: nas {word} {COMMANDS[word].subject}" in capfd.readouterr().out
        assert nas(word, "--help") == 0


HEAVY = ("torch", "numpy", "tyro", "rich", "optuna", "psutil", "nas.recipe", "runs.recipes.demo")


class TestStart:
    @pytest.mark.medium
    @pytest.mark.parametrize(
        "arguments, status, said",
        [
            ([], 0, "nas show"),
            (["--help"], 0, "nas show"),
            (["--version"], 0, f"nas {__version__}"),
            (["serach"], 2, ""),
            (["recipes"], 0, "toy_vehicles"),
            (["recipes", "--json"], 0, "toy_vehicles"),
            (["teach"], 2, "usage: nas teach"),
            (["run", "--help"], 0, "usage: nas run"),
        ],
    )
    def test_nothing_is_imported_that_the_command_does_not_need(self, arguments, status, said):
        script = (
            "import sys; from nas.cli.main import main; status = main(sys.argv[1:]);"
            f"print(status, *[name for name in {HEAVY} if name in sys.modules])"
        )
        command = [sys.executable, "-c", script, *arguments]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert lines[-1] == str(status) and said in "\n".join(lines[:-1])

    def test_every_command_is_where_the_table_says(self):
        assert all(callable(resolve_name(f"nas.cli.{word.replace('-', '_')}:main")) for word in COMMANDS)

    def test_as_a_module(self):
        command = [sys.executable, "-m", "nas", "--version"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("nas ")


class TestRecipes:
    def test_what_it_does_not_take(self, fails):
        assert "takes --json and nothing else, not --jason" in fails("recipes", "--jason")

    def test_one_line_each(self, capfd):
        assert nas("recipes") == 0
        lines = capfd.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(recipes()) and all(len(line.split()) > 4 for line in lines)

    def test_as_json(self, capfd):
        assert nas("recipes", "--json") == 0
        assert json.loads(capfd.readouterr().out).keys() == recipes().keys()


class TestRuns:
    @pytest.mark.medium
    @pytest.mark.parametrize("word", ["search", "retrain", "evaluate", "draw", "report"])
    def test_json_stands_alone_on_standard_output(self, finished, own, capfd, word):
        subject = [own, "--out", finished] if COMMANDS[word].subject == "RECIPE" else [finished]
        assert nas(word, *subject, "--machine.device", "cpu", "--json") == 0
        said = json.loads(capfd.readouterr().out)
        assert said["run"] == str(finished)
        for key in said.keys() & {"report", "student"}:
            assert Path(said[key]).is_file()
        if word == "evaluate":
            assert [row["name"].split()[0] for row in said["metrics"]["rows"]] == ["student"]
        if word in ("search", "draw"):
            assert said["architecture"] == json.loads((finished / "architecture.json").read_text())

    @pytest.mark.medium
    def test_the_answer_for_people(self, finished, capfd):
        assert nas("evaluate", finished, "--machine.device", "cpu") == 0
        out = capfd.readouterr().out
        assert "mAP" in out and "student (Plainer" in out and str(finished) in out

    @pytest.mark.medium
    def test_a_machine_that_is_too_small_to_train_measures(self, finished, fails, monkeypatch):
        monkeypatch.setattr("nas.training.memory.spare_bytes", lambda: 1000)
        assert "needs at least" in fails("retrain", finished, "--machine.device", "cpu")
        assert nas("evaluate", finished, "--machine.device", "cpu") == 0

    @pytest.mark.medium
    def test_a_space_of_ones_own_is_searched_and_found_again(self, finished):
        config = json.loads((finished / "config.json").read_text())
        assert config["config"]["space"]["backbone"] == {"kind": "Plainer", "channels": 2}
        assert set(json.loads((finished / "architecture.json").read_text())["decisions"]) == {
            f"backbone.normal.{node}" for node in range(2, 6)
        }

    @pytest.mark.medium
    def test_what_is_finished_is_not_done_again(self, finished, own):
        names = ["architecture.json", "student.safetensors", "search.ckpt", "retrain.ckpt", "retrain.history.jsonl"]
        before = [(finished / name).stat().st_mtime_ns for name in names]
        assert nas("search", own, "--out", finished, "--machine.device", "cpu") == 0
        assert nas("retrain", finished, "--machine.device", "cpu") == 0
        assert [(finished / name).stat().st_mtime_ns for name in names] == before

    @pytest.mark.medium
    def test_another_configuration_needs_overwrite(self, own, tmp_path, fails, capfd):
        search = ["search", own, "--out", tmp_path, "--machine.device", "cpu"]
        assert nas(*search) == 0
        assert "node 5 = " in capfd.readouterr().out
        first = (tmp_path / "search.history.jsonl").read_text()
        said = fails(*search, "--strategy.alphas.lr", 1.0)
        assert "strategy.alphas.lr: 0.02, now 1.0" in said and "--overwrite" in said and "--out" in said
        assert (tmp_path / "search.history.jsonl").read_text() == first
        assert nas(*search, "--strategy.alphas.lr", 1.0, "--overwrite") == 0
        assert (tmp_path / "search.history.jsonl").read_text() != first
        assert len((tmp_path / "search.history.jsonl").read_text().splitlines()) == 1

    @pytest.mark.medium
    def test_the_machine_and_the_evaluation_may_differ(self, finished, own):
        assert (
            nas(
                "search",
                own,
                "--out",
                finished,
                "--machine.device",
                "cpu",
                "--machine.checkpoint-minutes",
                1,
                "--evaluation.num-strips",
                1,
            )
            == 0
        )

    @pytest.mark.medium
    def test_another_data_set_in_a_recipe(self, own, tmp_path):
        small = [
            "--data.num-train-ids",
            6,
            "--data.num-test-ids",
            2,
            "--data.num-cameras",
            2,
            "--data.images-per-id",
            4,
        ]
        assert (
            nas(
                "search",
                own,
                "--on",
                "vehicles",
                *small,
                "--data.height",
                16,
                "--data.width",
                16,
                "--out",
                tmp_path,
                "--machine.device",
                "cpu",
            )
            == 0
        )
        assert json.loads((tmp_path / "config.json").read_text())["config"]["data"]["kind"] == "Vehicles"

    @pytest.mark.medium
    def test_a_small_variant(self, tmp_path, monkeypatch, capfd):
        monkeypatch.chdir(tmp_path)
        assert nas("teach", "toy", "--small", "--teacher.training.epochs", 1, "--machine.device", "cpu", "--json") == 0
        assert json.loads(capfd.readouterr().out)["run"] == "runs/out/toy-small-seed0"
        config = json.loads((tmp_path / "runs/out/toy-small-seed0/config.json").read_text())["config"]
        assert config["data"]["num_train_ids"] == 8 and config["teacher"]["training"]["epochs"] == 1

    @pytest.mark.medium
    def test_a_part_is_taken_out(self, tmp_path):
        assert (
            nas(
                "search",
                "toy",
                "--teacher",
                "None",
                "--baseline",
                "None",
                "--strategy.epochs",
                1,
                "--out",
                tmp_path,
                "--machine.device",
                "cpu",
            )
            == 0
        )
        config = json.loads((tmp_path / "config.json").read_text())["config"]
        assert config["teacher"] is config["baseline"] is None and config["strategy"]["epochs"] == 1

    @pytest.mark.medium
    def test_the_default_folder_names_recipe_and_seed(self, own, tmp_path, monkeypatch, capfd):
        monkeypatch.chdir(tmp_path)
        assert nas("search", own, "--seed", 5, "--machine.device", "cpu", "--json") == 0
        assert json.loads(capfd.readouterr().out)["run"] == "runs/out/mine-seed5"
        assert json.loads((tmp_path / "runs/out/mine-seed5/config.json").read_text())["config"]["seed"] == 5


@pytest.mark.medium
def test_interrupted_by_the_user(monkeypatch, capfd, finished):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.report.report", stop)
    assert nas("report", finished) == 130
    assert "the same command resumes from the last checkpoint" in capfd.readouterr().err


def test_a_reader_that_goes_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        command = [sys.executable, "-m", "nas", "recipes"]
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.stderr == "" and ended.returncode == 141


@pytest.mark.medium
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cost", "toy", "--nothing", "1"), "Unrecognized options: --nothing, 1; `nas cost toy --help` lists"),
        (("run", "toy", "--ap", "foo"), "invalid choice 'foo' for argument '--evaluation.ap'. Expected one of"),
        (("run", "toy", "--seed"), "Missing value for argument '--seed'"),
        (("run", "toy", "--retrain.epoch", "3"), "--retrain.epochs INT; `nas run toy --help`"),
        (("run", "toy", "--data", "csv"), "--data.height INT --data.images-per-id INT"),
    ],
)
def test_what_a_command_does_not_take_is_one_line(capfd, words, said):
    assert main([*words]) == 2
    err = capfd.readouterr().err
    assert err.startswith("nas: ") and said in err and err.count("\n") == 1
