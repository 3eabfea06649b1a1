"""Workers: what they are given, where their words go, how they end, and what they do not see."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from nas.errors import NonFiniteLoss
from nas.system.processes import threads_of, worker_processes

HERE = "tests.nas.system.test_processes"


OWN = f"{os.path.relpath(__file__)}, line 32"
"""Where these functions, which are no part of the toolkit, go wrong."""


def write(folder: Path, text: str) -> None:
    print("wrote", text, len(sys.stdin.read()))
    print("a word of warning", file=sys.stderr)
    (folder / f"{os.getpid()}.txt").write_text(text)


def fail(error: BaseException) -> None:
    raise error


def leave(status: int) -> int:
    return status


def wait(folder: Path) -> None:
    (folder / "waits").touch()
    time.sleep(60)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """New processes find this module by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    for function in (write, fail, leave, wait):
        monkeypatch.setattr(function, "__module__", HERE)


@pytest.mark.medium
def test_each_does_the_work_and_has_a_log(tmp_path, capfd):
    with worker_processes(write, (tmp_path, "something"), 2, tmp_path / "run"):
        (tmp_path / "beside.txt").write_text("something")
    assert [path.read_text() for path in tmp_path.glob("*.txt")] == ["something"] * 3
    logs = [tmp_path / "run" / "workers" / f"{number}.log" for number in range(2)]
    for log in logs:
        assert sorted(log.read_text().splitlines()) == ["a word of warning", "wrote something 0"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.medium
@pytest.mark.parametrize(
    "target, argument, status, line",
    [
        (fail, ValueError("seeds must be at least 1"), 2, f"nas: {OWN}: seeds must be at least 1"),
        (fail, NonFiniteLoss("it became nan"), 2, "nas: it became nan"),
        (fail, KeyError("odd"), 2, f"nas: {OWN}: KeyError: 'odd'"),
        (leave, 3, 3, "it said nothing"),
    ],
)
def test_one_that_fails_is_said_and_no_error(tmp_path, capfd, target, argument, status, line):
    with worker_processes(target, (argument,), 1, tmp_path):
        pass
    log = tmp_path / "workers" / "0.log"
    assert capfd.readouterr().err == f"nas: a worker ended with status {status} ({log}): {line}\n"
    assert ("Traceback" in log.read_text()) == isinstance(argument, KeyError)


@pytest.mark.medium
def test_what_cannot_be_imported_is_in_the_log(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(leave, "__module__", "no_module_of_this_name")
    with worker_processes(leave, (0,), 1, tmp_path):
        pass
    assert "No module named 'no_module_of_this_name'" in (tmp_path / "workers" / "0.log").read_text()
    assert "ended with status 1" in capfd.readouterr().err


@pytest.mark.medium
def test_one_that_does_not_stop_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.system.processes.STOP_S", 0.1)
    with pytest.raises(KeyboardInterrupt), worker_processes(wait, (tmp_path,), 1, tmp_path):
        while not (tmp_path / "waits").exists():
            time.sleep(0.01)
        since = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - since < 30


PARENT = """
import os, sys, time
from pathlib import Path
from nas.errors import exit_status
from nas.system.processes import worker_processes

folder = Path(sys.argv[1])

def work():
    (folder / f"{os.getpid()}.works").touch()
    try:
        time.sleep(60)
    finally:
        (folder / f"{os.getpid()}.gave back").touch()

def main():
    with worker_processes(work, (), 2, folder):
        time.sleep(60)

if __name__ == "__main__":
    sys.exit(exit_status(main))
"""


@pytest.fixture
def parent(tmp_path):
    """A process with two workers, and the numbers of these."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while len(works := list(tmp_path.glob("*.works"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        yield process, [int(path.stem) for path in works]
        process.kill()


LAUNCHER = """
import subprocess, sys, time
from nas.errors import exit_status
from nas.system.processes import end_with_launcher

def work():
    end_with_launcher()
    if not sys.argv[1:]:
        subprocess.Popen([sys.executable, sys.argv[0], "further"])
    else:
        print("works", flush=True)
    time.sleep(60)

sys.exit(exit_status(work))
"""


def test_what_another_library_starts_ends_with_the_first_process(tmp_path):
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(tmp_path / "launcher.py")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "works\n"
        process.kill()
        process.wait()
        assert process.stderr.read() == "nas: stopped; the same command resumes from the last checkpoint\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_give_back_their_trials_and_end_when_their_parent_does(tmp_path, parent, number):
    process, workers = parent
    process.send_signal(number)
    said, status = process.communicate()[1], process.returncode
    if number == signal.SIGKILL:
        assert status == -number
    else:
        assert status == 128 + number
        assert said == "nas: stopped; the same command resumes from the last checkpoint\n"
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(worker).wait(20)
        assert (tmp_path / f"{worker}.gave back").exists()


def test_modules_of_the_working_folder_are_not_seen(tmp_path):
    """Python's own way to start a process would import them."""
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    own.mkdir()
    foreign.mkdir()
    for name in ("json", "multiprocessing", "pickle", "nas", "random"):
        (foreign / f"{name}.py").write_text("raise SystemExit('a foreign module was imported')")
    (own / "program.py").write_text(
        textwrap.dedent("""
            import os, sys
            from pathlib import Path
            from nas.system.processes import worker_processes

            def work():
                import json, random
                print("worked", "PYTHONSAFEPATH" in os.environ)

            if __name__ == "__main__":
                with worker_processes(work, (), 1, Path(sys.argv[1])):
                    pass
                print("PYTHONSAFEPATH" in os.environ)
        """)
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, str(own / "program.py"), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=foreign, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert (tmp_path / "run" / "workers" / "0.log").read_text() == "worked True\n"


@pytest.mark.parametrize("num_workers, threads, expected", [(4, 3, 3), (1, 0, os.cpu_count()), (10**6, 0, 1)])
def test_threads_are_shared_unless_they_are_given(num_workers, threads, expected):
    assert threads_of(num_workers, threads) == expected
