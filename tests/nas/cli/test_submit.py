"""`nas submit`: what is refused before anything is started, and workers that take part in one study."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.cli.submit import on_submitit
from nas.cli.submit.on_submitit import Worker
from nas.cli.submit.submission import Submission
from nas.study.storage import open_storage
from tests.nas.cli.program import nas

TUNE = ["tune", "toy", "--small", "--parameters", "architecture"]


@pytest.mark.parametrize(
    "command, said",
    [
        (["train", "toy"], "named 'train'; there are search, tune, ablate, tabulate, reproduce"),
        (["search", "toy"], "this search has DARTS: give --strategy random or evolution, or share its steps"),
        (["search", "toy", "--strategy", "random", "--overwrite"], "--overwrite is not for workers that share"),
        (["reproduce", "fast_reid", "table2", "--plan"], "--plan is not for workers"),
        (["tune"], "`nas tune` needs to know what to work at"),
        (["reproduce", "fast_reid"], "takes a paper and a table, got fast_reid"),
        (["ablate", "toy"], "two arms or more"),
        (["tabulate", "toy", "--plan"], "--plan is not for workers"),
        (["tabulate", "toy", "--architectures", "0"], "--architectures must be a whole number from 1 on, or all, not"),
        ([*TUNE, "--trails", "3"], "Unrecognized options: --trails"),
        ([*TUNE, "--nodes", "3"], "--engine local is this machine alone"),
        ([*TUNE, "--partition", "gpu"], "--engine local is this machine alone"),
        ([*TUNE, "--gpus", "2", "--workers", "3"], "a worker has one GPU, and --gpus is 2: leave --workers out"),
        ([*TUNE, "--hours", "0"], "--hours must be at least 0.1"),
        ([*TUNE, "--engine", "slurmy"], "--engine"),
        ([*TUNE, "--address", "auto"], "--address is that of a cluster of Ray: give --engine ray, not local"),
        ([*TUNE, "--engine", "ray", "--hours", "3"], "Ray has no partitions and no limit of time"),
        ([*TUNE, "--engine", "ray", "--partition", "gpu"], "Ray has no partitions and no limit of time"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_started_is_said_before_anything_is(tmp_path, monkeypatch, capfd, command, said):
    monkeypatch.chdir(tmp_path)
    assert nas("submit", *command) == 2
    err = capfd.readouterr().err
    assert said in err and "Traceback" not in err and not list(tmp_path.iterdir())


def test_without_submitit_it_says_what_to_install(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert nas("submit", *TUNE) == 2
    assert "`nas submit` needs submitit: pip install 'nas-reid[submit]'" in capfd.readouterr().err


def needs_submitit() -> None:
    if find_spec("submitit") is None:
        pytest.skip("no submitit here: pip install 'nas-reid[submit]'")


def programs(folder: Path, **scripts: str) -> None:
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


def test_without_slurm_and_without_the_partition(tmp_path, monkeypatch, capfd):
    needs_submitit()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert nas("submit", *TUNE, "--engine", "slurm") == 2
    assert "needs SLURM's sbatch, srun, sinfo: give the command on a login node" in capfd.readouterr().err
    programs(tmp_path / "bin", sbatch="exit 1", srun="exit 1", sinfo="echo gpu; echo short")
    assert nas("submit", *TUNE, "--engine", "slurm", "--partition", "shrt") == 2
    assert "no partition of SLURM is named 'shrt' (did you mean 'short'?); there are gpu, short" in (
        capfd.readouterr().err
    )
    assert os.listdir(tmp_path) == ["bin"]


@pytest.mark.filterwarnings("ignore:.* is on")
def test_slurm_is_asked_for_an_array_that_is_queued_again(tmp_path, monkeypatch, capfd):
    needs_submitit()
    sbatch = f'/bin/cp "$1" {tmp_path}/asked; echo Submitted batch job 7'
    programs(tmp_path / "bin", sbatch=sbatch, srun="exit 1", sinfo="echo short")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    asked = ["--engine", "slurm", "--nodes", "2", "--gpus", "2", "--hours", "1.5", "--partition", "short", "--json"]
    assert nas("submit", *TUNE, *asked, "--out", tmp_path / "study") == 0
    said = json.loads(capfd.readouterr().out)
    assert said["jobs"] == [f"7_{place}" for place in range(4)] and said["run"] == str(tmp_path / "study")
    script = (tmp_path / "asked").read_text()
    for line in ("array=0-3%4", "gpus-per-node=1", "time=90", "partition=short", "requeue", "signal=USR2@90"):
        assert f"#SBATCH --{line}\n" in script
    assert Path(said["logs"]).stat().st_mode & 0o077 == 0 and not (tmp_path / "study").exists()


def test_a_job_of_slurm_that_is_refused(tmp_path, monkeypatch, capfd):
    needs_submitit()
    programs(tmp_path / "bin", sbatch="echo too long >&2; exit 1", srun="exit 1", sinfo="echo short")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.warns(UserWarning, match="if not every node sees it there, give --out a shared folder"):
        on_submitit._check_slurm(Submission(engine="slurm"), TUNE, tmp_path)
    with pytest.raises(ValueError, match="SLURM refuses the jobs, ask for others: .*too long"):
        on_submitit.start(Submission(engine="slurm"), [*TUNE, "--storage", "postgresql://host/x"], tmp_path / "study")


def test_handlers_of_logs_stay_open():
    needs_submitit()
    code = (
        "import logging, os, tempfile; log = logging.FileHandler(tempfile.mkstemp()[1]); "
        "from nas.cli.submit.on_submitit import _submitit; _submitit(); assert log.stream and not log.stream.closed; "
        "assert 'SUBMITIT_LOG_LEVEL' not in os.environ"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_is_queued_again_as_it_is():
    needs_submitit()
    worker = Worker(("tune", "toy"))
    again = worker.checkpoint()
    assert again.function == worker and again.args == () and again.kwargs == {}


def test_a_worker_that_fails_has_the_commands_status(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit) as end:
        Worker(("tune", "nothing-of-that-name"))()
    assert end.value.code == 2 and "there is no recipe" in capfd.readouterr().err


def submitted(folder: Path, *words: object) -> dict:
    """What `nas submit --engine local` says in that folder, which ends while its workers go on."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nas", "submit", *map(str, words), "--json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SEARCH = ["search", "toy", "--teacher", "None", "--strategy", "random"]
SEARCH += ["--strategy.trials", "12", "--strategy.epochs", "30"]


@pytest.mark.slow
def test_of_three_workers_one_is_killed_and_a_later_one_joins(tmp_path):
    """None of the trials is lost, none is done twice, and no worker sees the modules of the working folder."""
    needs_submitit()
    (tmp_path / "psutil.py").write_text("raise SystemExit(1)")
    journal, command = tmp_path / "run" / "search.journal", [*SEARCH, "--out", tmp_path / "run", "--grace", 7200]
    pids = [int(job) for job in submitted(tmp_path, *command, "--workers", 3)["jobs"]]
    assert len(pids) == 3
    while not journal.exists() or not optuna.get_all_study_names(open_storage(str(journal))):
        time.sleep(0.2)
    study = optuna.load_study(study_name="search", storage=open_storage(str(journal)))
    while not (running := [t for t in study.get_trials(states=(TrialState.RUNNING,)) if "worker" in t.user_attrs]):
        time.sleep(0.1)
    lost = running[0]
    os.kill(int(lost.user_attrs["worker"].rpartition(":")[2]), signal.SIGKILL)
    pids += map(int, submitted(tmp_path, *command)["jobs"])
    end = time.monotonic() + 900
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.5)
    trials = [trial for trial in study.get_trials() if "worker" in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(12))
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [lost.number]
    assert len(trials) == 13 and (tmp_path / "run" / "architecture.json").exists()
