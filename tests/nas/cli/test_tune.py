"""`nas tune` as a user meets it: real trainings of tiny networks, several processes, databases, the dashboard."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from nas.cli.tune import to_this_machine
from nas.study.storage import open_storage
from tests.nas.cli.program import nas

COMMON = ["--held-out", "0.25", "--machine.device", "cpu"]


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "nas", "tune", *map(str, arguments)],
        text=True,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.medium
def test_a_study_and_its_result_in_a_run(recipe, tmp_path, capfd):
    command = [
        "tune",
        recipe,
        "--parameters",
        "distillation",
        "--trials",
        2,
        "--epochs",
        2,
        "--pruner",
        "median",
        *COMMON,
        "--out",
        tmp_path / "study",
    ]
    assert nas(*command) == 0
    out = capfd.readouterr().out
    assert "loss.alpha" in out and "★" in out and str(tmp_path / "study" / "tuned.json") in out
    found = json.loads((tmp_path / "study" / "trials.json").read_text())
    assert len(found["trials"]) == 2 and {row["state"] for row in found["trials"]} == {"complete"}
    history = (tmp_path / "study" / "trials" / str(found["trials"][0]["trial"]) / "retrain.history.jsonl").read_text()
    assert json.loads(history.splitlines()[-1])["mAP"] == found["trials"][0]["mAP"]

    assert nas(*command, "--json") == 0  # finished: nothing is done again
    assert json.loads(capfd.readouterr().out)["trials"] == found["trials"]

    tuned = tmp_path / "study" / "tuned.json"
    assert nas("teach", recipe, "--overrides", tuned, "--out", tmp_path / "run", *COMMON[2:]) == 0
    loss = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["loss"]
    assert loss["alpha"] == found["trials"][0]["params"]["loss.alpha"]


class TestHelp:
    @pytest.mark.parametrize("arguments, status", [([], 2), (["--help"], 0), (["--parameters", "joint"], 2)])
    def test_usage(self, arguments, status, capfd):
        assert nas("tune", *arguments) == status
        assert "usage: nas tune RECIPE --parameters NAME" in capfd.readouterr().out

    def test_every_field(self, recipe, capfd):
        assert nas("tune", recipe, "--help-all") == 0
        said = capfd.readouterr().out
        flags = ("--parameters", "--workers", "--grace", "--retrain.epochs", "--loss.alpha", "--overrides")
        assert all(flag in said for flag in flags)


@pytest.mark.medium
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--parameters", "joy"], "no parameters are called 'joy'"),
        (["--workers", "0"], "--workers must be at least 1, not 0"),
        (["--overwrite"], "a study is not overwritten"),
        (["--parameters", "fast_reid", "--sampler", "nsga2"], "changes no network"),
        (["--storage", "postgresql://me@127.0.0.1:1/x"], "cannot be reached"),
    ],
)
def test_errors_come_before_anything_is_written(recipe, tmp_path, capfd, arguments, message):
    assert nas("tune", recipe, *COMMON, *arguments, "--out", tmp_path / "study") == 2
    said = capfd.readouterr()
    assert message in said.err and said.out == "" and not (tmp_path / "study").exists()


@pytest.mark.filterwarnings("always")
def test_a_password_on_the_command_line_is_warned_of_and_one_in_the_environment_is_not(
    recipe, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr("nas.study.storage.MAKING_S", 0.0)
    address = "postgresql://me:SECRET@127.0.0.1:1/x"
    command = ["tune", recipe, *COMMON, "--out", tmp_path / "study"]
    assert nas(*command, "--storage", address) == 2
    said = capfd.readouterr().err
    assert "warning: the list of processes shows the password" in said and "NAS_STORAGE" in said
    monkeypatch.setenv("NAS_STORAGE", address)
    assert nas(*command) == 2
    said = capfd.readouterr().err
    assert "warning" not in said and "postgresql://me:***@127.0.0.1:1/x cannot be reached" in said


@contextmanager
def storage_at(address: str) -> Iterator[BaseStorage]:
    """The storage, whose connections are closed behind us."""
    storage = open_storage(address)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "how", "seconds"), [(1, "immediate", 4), (2, "fast", 10)])
def test_a_database_that_stops_and_comes_back(recipe, tmp_path, database, workers, how, seconds):
    """Nothing is lost: the workers wait with what they have to tell."""
    folder = tmp_path / "study"
    process = start(
        recipe,
        "--parameters",
        "fast_reid",
        "--sampler",
        "grid",
        "--epochs",
        2,
        "--workers",
        workers,
        *COMMON,
        "--storage",
        database.address,
        "--out",
        folder,
    )
    while not (folder / "trials" / "2").exists() and process.poll() is None:
        time.sleep(0.1)
    database.control("stop", "-m", how)
    time.sleep(seconds)
    assert process.poll() is None
    database.control("start")
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    with storage_at(database.address) as storage:
        trials = optuna.load_study(study_name="study", storage=storage).get_trials()
    assert len(trials) == 12 and {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert sorted(trial.user_attrs["place"] for trial in trials) == list(range(12))


def asked(app, **headers) -> tuple[str, bytes]:
    """The status and body of what a WSGI application answers."""
    environ = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(environ)
    del environ["HTTP_HOST"]
    said = []
    body = b"".join(app(environ | headers, lambda status, *_: said.append(status)))
    return said[0], body


class TestDashboard:
    def test_is_for_this_machine_alone(self, tmp_path, monkeypatch, capfd):
        served = []
        monkeypatch.setattr("bottle.run", lambda app, **where: served.append((app, where)))
        optuna.create_study(study_name="of the test", storage=open_storage(str(tmp_path / "study.db")))
        for place in (tmp_path, tmp_path / "study.db"):
            assert nas("tune", "--dashboard", place, "--port", 8123) == 0
        assert [where for _, where in served] == [{"host": "127.0.0.1", "port": 8123}] * 2
        assert "http://127.0.0.1:8123/" in capfd.readouterr().out
        status, body = asked(served[0][0], HTTP_HOST="localhost:8123")
        assert status == "200 OK" and b"of the test" in body

    @pytest.mark.parametrize(
        "headers",
        [
            {"HTTP_HOST": "evil.example:8123"},
            {"HTTP_HOST": "127.0.0.1:8124"},
            {"HTTP_HOST": "127.0.0.1:8123", "HTTP_ORIGIN": "http://evil.example"},
            {},
        ],
    )
    def test_a_page_of_a_stranger_has_no_answer(self, headers):
        def app(environ, start_response):
            raise AssertionError("it was asked")

        status, body = asked(to_this_machine(app, 8123), **headers)
        assert status == "403 Forbidden" and b"http://127.0.0.1:8123/" in body

    def test_of_nothing(self, tmp_path, capfd):
        assert nas("tune", "--dashboard", tmp_path) == 2
        assert "there is no study in" in capfd.readouterr().err and not list(tmp_path.iterdir())

    def test_what_it_needs_is_said(self, tmp_path, capfd, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
        assert nas("tune", "--dashboard", tmp_path) == 2
        assert "needs optuna-dashboard: pip install 'nas-reid[tune]'" in capfd.readouterr().err

    @pytest.mark.slow
    def test_answers(self, tmp_path):
        optuna.create_study(study_name="of the test", storage=open_storage(str(tmp_path / "study.db")))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = start("--dashboard", tmp_path, "--port", port)
        try:
            assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
            for _ in range(100):
                time.sleep(0.2)
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies") as answer:
                        said = answer.read().decode()
                    break
                except OSError:
                    continue
            assert "of the test" in said
        finally:
            process.kill()
            process.communicate()
