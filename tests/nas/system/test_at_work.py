"""Of several processes one works at a time, and the next one is told of it."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.system import locks
from nas.system.at_work import AtWork, workers

HOLDER = """
import sys, time
from pathlib import Path
from nas.system.at_work import AtWork, workers
held = AtWork(Path(sys.argv[1]), "evaluate", "shared" in sys.argv)
print("at work", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Starts another process that is at work in the folder."""
    processes = []

    def start(*words: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", HOLDER, str(tmp_path), *words]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "at work\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_message_says_who_is_at_work_and_a_dead_ones_place_is_free(tmp_path, other):
    process = other("--storage=postgresql://u:SECRET@h/d")
    said = rf"another process does this \(evaluate\) in {tmp_path}: `nas .*`, process {process.pid} on \S+ since 20"
    with pytest.raises(ValueError, match=said) as error:
        AtWork(tmp_path, "evaluate")
    assert "SECRET" not in str(error.value)
    with AtWork(tmp_path, "retrain"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with AtWork(tmp_path, "evaluate"):
        assert json.loads((tmp_path / ".evaluate.lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_several_share_what_is_shared(tmp_path, other):
    other("shared")
    with AtWork(tmp_path, "evaluate", shared=True):
        pass
    assert (tmp_path / ".evaluate.lock").exists()
    with pytest.raises(ValueError, match="another process"):
        AtWork(tmp_path, "evaluate")


def test_who_is_at_work_may_begin_again(tmp_path):
    with AtWork(tmp_path, "search"):
        with AtWork(tmp_path, "search"):
            pass
        with AtWork(tmp_path, "search", shared=True):
            pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_nothing_was_written_is_not_left(tmp_path):
    with AtWork(tmp_path / "a/b", "evaluate"):
        pass
    with AtWork(tmp_path / "c/d", "evaluate"):
        (tmp_path / "c/d/x").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["c"] and (tmp_path / "c/d/x").exists()


def test_a_worker_that_srun_started_is_another(tmp_path, monkeypatch, other):
    other()
    for name in ("SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ValueError, match=r"another process.*, or --machine\.devices for processes of srun that share"):
        AtWork(tmp_path, "evaluate")


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(UserWarning, match=r"cannot be locked \(this system has no locks.*let no other command work in"):
        AtWork(tmp_path, "evaluate")
    with pytest.warns(UserWarning, match="cannot be locked"), locks.locked(tmp_path / "x.lock"):
        pass
    with pytest.raises(ValueError, match="leave --workers out"):
        locks.check_can_share()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match=r"cannot be locked \(No locks available\)"):
        AtWork(tmp_path, "evaluate")


def test_no_module_needs_what_windows_lacks():
    """Each imports the locks from one place, which does without."""
    root = Path(__file__).parents[3]
    code = "import sys; sys.modules['fcntl'] = None; import nas.system.locks, nas.system.files, nas.errors"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    needing = [
        path.relative_to(root).as_posix()
        for folder in ("nas", "runs", "search_spaces", "students", "teachers")
        for path in (root / folder).rglob("*.py")
        if any(f"import {name}\n" in path.read_text() for name in ("fcntl", "resource", "pwd", "grp", "termios"))
    ]
    assert needing == ["nas/system/locks.py"]


def test_who_is_at_work_is_told_to_those_who_only_look(tmp_path, other):
    assert workers(tmp_path, ["evaluate", "search"]) == {}
    process = other()
    found = workers(tmp_path, ["evaluate", "search"])
    assert list(found) == ["evaluate"] and found["evaluate"]["pid"] == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".evaluate.lock").exists() and workers(tmp_path, ["evaluate"]) == {}
    (tmp_path / ".search.lock").write_text("[]")
    assert workers(tmp_path, ["search"]) == {}


def test_those_who_share_are_seen_when_the_one_who_noted_itself_has_gone(tmp_path, other):
    other("shared")
    last = other("shared")
    last.send_signal(signal.SIGKILL)
    last.wait()
    assert list(workers(tmp_path, ["evaluate"])) == ["evaluate"]
