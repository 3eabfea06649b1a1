"""Every command that shares trials, while one of its workers is killed: none is lost, none is done twice.

The grace is longer than a test waits, so that it is the death that is seen, not the silence.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from nas.study.storage import open_storage

WORKERS = ["--workers", "3", "--grace", "7200", "--machine.device", "cpu"]
PATIENCE_S = 3600
"""A minute or two where nothing else runs."""


@dataclass
class Command:
    """A command that has some trials, and where it keeps them."""

    arguments: list[str]
    num_trials: int
    store: str = "study.journal"


COMMANDS = {
    "search": Command(
        [
            "search",
            "toy",
            "--strategy",
            "random",
            "--strategy.trials",
            "12",
            "--strategy.epochs",
            "30",
            "--teacher",
            "None",
        ],
        num_trials=12,
        store="search.journal",
    ),
    "tune": Command(["tune", "FILE:tiny", "--parameters", "fast_reid", "--sampler", "grid", "--epochs", "6"], 12),
    "ablate": Command(["ablate", "FILE:tiny", "FILE:harder", "--seeds", "3", "--retrain.epochs", "20"], 6),
    "tabulate": Command(
        ["tabulate", "FILE:tiny", "FILE:harder", "--architectures", "2", "--seeds", "2", "--retrain.epochs", "20"], 8
    ),
    "reproduce": Command(
        ["reproduce", "fast_reid", "table2", "--small", "--rows", "T = 5,", "--seeds", "2", "--retrain.epochs", "6"], 6
    ),
}


@contextmanager
def started(command: Command, recipe: str, folder: Path, storage: str) -> Iterator[subprocess.Popen]:
    """The command as a process, which does not outlive the test; its workers end with it."""
    words = [word.replace("FILE", recipe.rpartition(":")[0]) for word in command.arguments]
    stored = ["--storage", storage] if storage else []
    with subprocess.Popen(
        [sys.executable, "-m", "nas", *words, *WORKERS, *stored, "--out", str(folder)],
        text=True,
        cwd=folder.parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def storage_at(address: str) -> Iterator[BaseStorage]:
    """The storage, whose connections are closed behind us."""
    storage = open_storage(address)
    yield storage
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def study_in(storage: BaseStorage) -> optuna.Study | None:
    """The only study that is kept there, which comes after its store."""
    names = [each.study_name for each in storage.get_all_studies()]
    return optuna.load_study(study_name=names[0], storage=storage) if names else None


def wait_for_store(process: subprocess.Popen, address: str) -> None:
    while process.poll() is None and "://" not in address and not Path(address).exists():
        time.sleep(0.2)


def kill_a_worker(process: subprocess.Popen, address: str) -> int:
    """Kills one in the middle of a trial, when another trial has ended; the number of its trial.

    One that has just ended its trial loses nothing: then another one is killed.
    """
    wait_for_store(process, address)
    killed: set[str] = set()
    with storage_at(address) as storage:
        while process.poll() is None:
            time.sleep(0.2)
            if (study := study_in(storage)) is None:
                continue
            running, ended = (study.get_trials(states=(s,)) for s in (TrialState.RUNNING, TrialState.COMPLETE))
            workers = {trial.user_attrs["worker"] for trial in running if "worker" in trial.user_attrs}
            for worker in workers - killed if ended and len(killed) < 2 else ():
                if (pid := int(worker.rpartition(":")[2])) != process.pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(worker)
                    his = [trial for trial in study.get_trials() if trial.user_attrs.get("worker") == worker]
                    if lost := [trial.number for trial in his if trial.state != TrialState.COMPLETE]:
                        return lost[0]
                    break
    raise AssertionError(process.communicate())


def check_whole(address: str, num_trials: int, lost: int) -> None:
    """Without those that nobody worked at: two who come by at once both put a trial into the next place, and the second
    is dropped as it is claimed."""
    with storage_at(address) as storage:
        study = study_in(storage)
        assert study
        trials = [trial for trial in study.get_trials() if "worker" in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(num_trials))
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [lost]
    assert len(trials) == num_trials + 1


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path):
    """An address for `--storage`; the journal is what there is without one."""
    if request.param == "postgresql":
        return request.getfixturevalue("database").address
    return str(tmp_path / "trials.db") if request.param == "sqlite" else ""


@pytest.mark.slow
@pytest.mark.parametrize("word", COMMANDS)
def test_a_killed_workers_trial_is_done_by_another(word, recipe, tmp_path, storage):
    command, folder = COMMANDS[word], tmp_path / "out"
    address = storage or str(folder / command.store)
    with started(command, recipe, folder, storage) as process:
        lost = kill_a_worker(process, address)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "a worker ended with status -9" in err and "Traceback" not in err
    check_whole(address, command.num_trials, lost)


@pytest.mark.slow
@pytest.mark.parametrize("word", COMMANDS)
def test_a_killed_command_goes_on(word, recipe, tmp_path):
    """All of its processes at once, with the same command afterwards."""
    command, folder = COMMANDS[word], tmp_path / "out"
    address = str(folder / command.store)
    with started(command, recipe, folder, "") as process:
        wait_for_store(process, address)
        with storage_at(address) as storage:
            while process.poll() is None:
                time.sleep(0.2)
                if (study := study_in(storage)) and study.get_trials(states=(TrialState.COMPLETE,)):
                    break
    time.sleep(15)  # its workers see that it is dead
    with started(command, recipe, folder, "") as again:
        _, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, err
    with storage_at(address) as storage:
        study = study_in(storage)
        assert study
        trials = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(trial.user_attrs["place"] for trial in trials) == list(range(command.num_trials))


@pytest.mark.slow
@pytest.mark.parametrize("word", ["search", "ablate", "tabulate", "reproduce"])
def test_workers_wait_for_a_database_that_is_restarted(word, recipe, tmp_path, database):
    """Those that are between two trials as well: nothing is lost, and each says so once for what it asks."""
    command, folder = COMMANDS[word], tmp_path / "out"
    with started(command, recipe, folder, database.address) as process:
        with storage_at(database.address) as storage:
            while process.poll() is None:
                time.sleep(0.2)
                if (study := study_in(storage)) and study.get_trials(states=(TrialState.COMPLETE,)):
                    break
        database.control("stop", "-m", "immediate")
        time.sleep(10)
        assert process.poll() is None
        database.control("start")
        _, err = process.communicate(timeout=PATIENCE_S)
    said = err + "".join(log.read_text() for log in (folder / "workers").glob("*.log"))
    assert process.returncode == 0 and "Traceback" not in said, said
    assert "the study's storage is away" in said
    with storage_at(database.address) as storage:
        study = study_in(storage)
        assert study
        trials = [trial for trial in study.get_trials() if "worker" in trial.user_attrs]
    assert sorted(trial.user_attrs["place"] for trial in trials) == list(range(command.num_trials))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
