"""What trackers are told: what TensorBoard is told, and the results; with the trackers themselves, offline, where they
are installed."""

import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli import run_command
from nas.cli.find_recipe import recipe_named
from nas.cli.search import SearchOptions
from nas.run import Run
from nas.training import track as module
from nas.training.monitor import Monitor
from nas.training.track import tracked
from tests.nas.cli.program import nas

HISTORY = [
    {"epoch": 0, "loss": {"total": 2.0}, "lr": 0.1},
    {"epoch": 1, "loss": {"total": 1.0}, "alphas": {"c.2<0": {"a": 1.0}}},
]


class Told:
    """A tracker that remembers what it is told."""

    all: list["Told"] = []

    def __init__(self, folder: Path, config: Mapping) -> None:
        self.name, self.seed, self.logged, self.ended = folder.name, config["seed"], [], None
        Told.all.append(self)

    def log(self, stage: str, epoch: int, numbers: Mapping[str, float]) -> None:
        self.logged.append((stage, epoch, dict(numbers)))

    def end(self, results: Mapping[str, float], report: Path | None, failed: bool) -> None:
        self.ended = (dict(results), report, failed)


@pytest.fixture
def told(monkeypatch):
    Told.all = []
    monkeypatch.setitem(module.TRACKERS, "wandb", Told)
    monkeypatch.setattr(module, "import_module", lambda name: None)
    return Told.all


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    Run(folder, "toy", replace(recipe_named("toy")[1], teacher=None)).note_recipe()
    return folder


def publish(folder: Path, history: list[dict], again: bool = False) -> None:
    monitor = Monitor(folder, "search", first=True, quiet=True)
    monitor.publish(history, again)
    monitor.close()


def measure(folder: Path) -> None:
    rows = [
        {"role": "student", "name": "s", "mAP": 0.5, "best": True},
        {"role": "student", "name": "s", "mAP": 0.6, "rerank": {"k1": 20}},
    ]
    (folder / "metrics.json").write_text(json.dumps({"rows": rows}))
    (folder / "report.html").write_text("<p>page</p>")


def test_it_is_told_each_epoch_and_the_results_at_the_end(run, told):
    with tracked("wandb", run):
        publish(run, HISTORY[:1])
        publish(run, HISTORY)
        measure(run)
    (one,) = told
    assert (one.name, one.seed) == ("run", 0)
    assert one.logged == [
        ("search", 0, {"epoch": 0, "loss/total": 2.0, "lr": 0.1}),
        ("search", 1, {"epoch": 1, "loss/total": 1.0, "alphas/c.2<0/a": 1.0}),
    ]
    assert one.ended == ({"student/mAP": 0.5, "student+rerank/mAP": 0.6}, run / "report.html", False)


def test_a_stage_that_goes_on_tells_all_of_its_epochs(run, told):
    with tracked("wandb", run):
        publish(run, HISTORY, again=True)
    assert [epoch for _, epoch, _ in told[0].logged] == [0, 1]


def test_trials_and_other_folders_are_not_mixed_in_and_an_error_is_a_failed_run(run, told):
    with pytest.raises(RuntimeError), tracked("wandb", run):
        publish(run / "search.trials" / "0", HISTORY)
        assert told == []
        publish(run / "again", HISTORY)
        raise RuntimeError
    assert len(told[0].logged) == 1 and told[0].ended == ({}, None, True)


def test_nothing_is_begun_where_there_is_nothing_to_tell(run, told):
    measure(run)
    with tracked("wandb", run):
        pass
    publish(run, HISTORY)
    assert told == []


@pytest.mark.parametrize(("devices", "told_of"), [(1, "wandb"), (2, "none")])
def test_of_processes_that_share_their_steps_the_first_tells(devices, told_of, tmp_path, monkeypatch):
    """Workers of a study have a rank too, and each tells of its own."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    asked = []

    @contextmanager
    def noted(name, folder):
        asked.append(name)
        yield

    monkeypatch.setattr(run_command, "tracked", noted)
    words = ["demo", "--small", "--out", str(tmp_path / "run"), "--track", "wandb", "--machine.devices", str(devices)]
    run_command.run_command("search", words, lambda run, given: {}, SearchOptions)
    assert asked == [told_of]


def test_another_name_and_what_is_not_installed(run, monkeypatch, capfd):
    assert nas("report", run, "--track", "wandbb") == 2
    assert (
        "no tracker is named 'wandbb' (did you mean 'wandb'?); there are none, wandb, mlflow" in capfd.readouterr().err
    )

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module, "import_module", absent)
    assert nas("report", run, "--track", "mlflow") == 2
    assert "--track mlflow needs mlflow: pip install 'nas-reid[mlflow]'" in capfd.readouterr().err
    assert not (run / "report.html").exists()


@pytest.mark.medium
@pytest.mark.filterwarnings("default")  # theirs
def test_mlflow_has_the_numbers_and_the_report_in_files(run, monkeypatch):
    pytest.importorskip("mlflow", reason="no MLflow here: pip install 'nas-reid[mlflow]'")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracked("mlflow", run):
        publish(run, HISTORY, again=True)
        measure(run)
    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("nas-reid").experiment_id])
    assert found.info.run_name == "run" and found.info.status == "FINISHED"
    assert found.data.metrics["student/mAP"] == 0.5 and found.data.metrics["search/alphas/c.2_0/a"] == 1.0
    history = client.get_metric_history(found.info.run_id, "search/loss/total")
    assert [(each.step, each.value) for each in history] == [(0, 2.0), (1, 1.0)]
    assert {each.path for each in client.list_artifacts(found.info.run_id)} == {"config.json", "report.html"}


@pytest.mark.medium
@pytest.mark.filterwarnings("default")  # theirs
def test_wandb_has_the_numbers_and_the_report_offline(run, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="no wandb here: pip install 'nas-reid[wandb]'")
    for name in ("WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    with tracked("wandb", run):
        publish(run, HISTORY, again=True)
        measure(run)
    wandb.teardown()  # as at the end of a process
    (offline,) = (run / "wandb").glob("offline-run-*")
    content = next(offline.glob("*.wandb")).read_bytes()
    assert b"search/loss/total" in content and b"student/mAP" in content
    assert [path.read_text() for path in offline.rglob("*.html")] == ["<p>page</p>"]
