"""`nas submit --engine ray`: what is refused, when a worker ends, and workers of a real cluster that lose it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from nas.cli.submit import on_ray, ray_worker
from nas.cli.submit.submission import Submission, arguments_of
from nas.study.storage import open_storage
from tests.nas.cli.program import nas
from tests.ranks import ROOT, free_port

TUNE = ["tune", "toy", "--small", "--parameters", "architecture", "--engine", "ray"]
SEARCH = ["search", "toy", "--teacher", "None", "--strategy", "random", "--machine.device", "cpu"]
NODES = [{"CPU": 32.0, "GPU": 4.0}, {"CPU": 12.0, "GPU": 2.0}, {"CPU": 64.0}]


def needs_ray() -> None:
    if find_spec("ray") is None:
        pytest.skip("no Ray here: pip install 'nas-reid[ray]'")


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert nas("submit", *TUNE) == 2
    assert "`nas submit --engine ray` needs Ray: pip install 'nas-reid[ray]'" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.medium
@pytest.mark.parametrize(
    "address, said",
    [
        ("127.0.0.1:1", "no head of Ray answers at .*:1: start one with `ray start --head`"),
        ("nowhere", "--address must be host:port or auto, not 'nowhere'"),
        ("ray://127.0.0.1:10001", "give the command on a node"),
    ],
)
def test_without_a_cluster_it_says_how_to_start_one(address, said):
    needs_ray()
    with pytest.raises(ValueError, match=said):
        on_ray._head(address)


def test_a_worker_has_a_core_or_the_share_of_its_gpu():
    assert on_ray._cores(Submission(engine="ray", workers=3), NODES) == 1
    assert on_ray._cores(Submission(engine="ray", gpus=2), NODES) == 6
    assert on_ray._cores(Submission(engine="ray", gpus=2, cpus=3), NODES) == 3
    assert on_ray._cores(Submission(engine="ray", gpus=1), [{"CPU": 1.0, "GPU": 8.0}]) == 1


def test_more_than_the_cluster_has():
    on_ray._check_cluster(Submission(engine="ray", nodes=2, gpus=3), 6, NODES)
    with pytest.raises(ValueError, match="8 workers need 8 GPUs, and Ray's cluster has 6: lower --gpus or --nodes"):
        on_ray._check_cluster(Submission(engine="ray", nodes=2, gpus=4), 6, NODES)
    with pytest.raises(ValueError, match="5 workers need 150 CPUs, and Ray's cluster has 108: lower --workers"):
        on_ray._check_cluster(Submission(engine="ray", workers=5), 30, NODES)


def test_a_workers_threads_are_its_cores_unless_they_are_given(monkeypatch):
    monkeypatch.setattr("nas.system.plugins.loaded", list)
    assert arguments_of(["tune", "toy"], 3) == ("tune", "toy", "--machine.threads", "3")
    assert arguments_of(["tune", "toy", "--machine.threads=2"], 3) == ("tune", "toy", "--machine.threads=2")
    assert arguments_of(["tune", "toy"]) == ("tune", "toy")


class Head:
    """Somebody who listens, as Ray's head does."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))

    def close(self) -> None:
        self.socket.close()


def test_a_worker_outlives_a_lost_head_until_there_is_one_again(monkeypatch, capfd):
    head, looks = free_port(), []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            looks.append(Head(head))

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(ray_worker.time, "sleep", look)
    ray_worker.wait_for_end(f"127.0.0.1:{head}")
    assert looks.pop().close() is None and looks == [ray_worker.LOOK_S] * 3
    assert f"Ray's head 127.0.0.1:{head} is lost; this worker goes on" in capfd.readouterr().err


def test_a_worker_ends_with_its_actor_while_there_is_a_head(monkeypatch, capfd):
    head = Head(0)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(ray_worker.time, "sleep", lambda seconds: pytest.fail("it waits"))
    ray_worker.wait_for_end(f"127.0.0.1:{head.socket.getsockname()[1]}")
    head.close()
    assert capfd.readouterr().err == ""


PYTHON = os.pathsep.join(map(str, (ROOT, *filter(None, [os.environ.get("PYTHONPATH")]))))
ENVIRONMENT = {"PYTHONPATH": PYTHON, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def cluster(tmp_path_factory):
    """The process that keeps a Ray of four cores on this machine, and its address. A node gives a lost head up after
    ten seconds, not sixty."""
    needs_ray()
    from ray.util import get_node_ip_address

    host, port = get_node_ip_address(), free_port()  # in whose place Ray takes 127.0.0.1, too
    quick = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
    command = ["start", "--head", "--block", "--num-cpus=4", "--num-gpus=0", f"--port={port}"]
    command += [f"--node-ip-address={host}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from ray.scripts.scripts import main; main()", *command],
        env=os.environ | ENVIRONMENT | quick,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not ray_worker.has_head(f"{host}:{port}"):
            assert process.poll() is None and time.monotonic() < end, "Ray does not start"
            time.sleep(0.2)
        yield psutil.Process(process.pid), f"{host}:{port}"
    finally:
        with suppress(psutil.NoSuchProcess):
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
        process.wait()


def submitted(folder: Path, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", "-m", "nas", "submit", *map(str, words), "--engine", "ray", "--json"],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def pids_of(run: Path) -> list[int]:
    """Of the workers' processes, which are not those that wait for them."""
    found = [each.info for each in psutil.process_iter(["pid", "cmdline"])]
    ours = [each["pid"] for each in found if {"nas.cli.submit.ray_worker", str(run)} <= set(each["cmdline"] or ())]
    return [pid for pid in ours if os.getsid(pid) == pid]


@pytest.mark.medium
def test_the_process_outlives_who_waits_for_it_until_there_is_a_head(tmp_path):
    """Ray kills the children of an actor that it ends."""
    head, said = free_port(), tmp_path / "err"
    command = [
        "-m",
        "nas.cli.submit.ray_worker",
        f"127.0.0.1:{head}",
        "serve",
        str(tmp_path),
        "--port",
        str(free_port()),
    ]
    with said.open("wb") as err:
        waits = subprocess.Popen(
            [sys.executable, "-P", *command],
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=err,
        )
    wait_until(lambda: pids_of(tmp_path), 120)
    waits.kill()
    waits.communicate()
    wait_until(lambda: "is lost; this worker goes on" in said.read_text(), 120)
    assert len(pids_of(tmp_path)) == 1
    with socket.create_server(("127.0.0.1", head)):
        wait_until(lambda: not pids_of(tmp_path), 120)


@pytest.mark.slow
def test_of_three_workers_one_is_killed_then_the_head(tmp_path, cluster):
    """Ray starts the killed one again, and all go on without it: none of the trials is lost, none is done twice. No
    worker sees the modules of the working folder."""
    ray, address = cluster
    (tmp_path / "psutil.py").write_text("raise SystemExit(1)")
    run = tmp_path / "run"
    command = [*SEARCH, "--strategy.trials", 30, "--strategy.epochs", 30, "--out", run, "--grace", 7200]
    command += ["--address", address]
    said = json.loads(submitted(tmp_path, *command, "--workers", 3).stdout)
    assert len(said["jobs"]) == 3 and said["run"] == str(run)
    study = begun(str(run / "search.journal"))
    while not (running := [t for t in study.get_trials(states=(TrialState.RUNNING,)) if "worker" in t.user_attrs]):
        time.sleep(0.1)
    lost = running[0]
    os.kill(int(lost.user_attrs["worker"].rpartition(":")[2]), signal.SIGKILL)
    wait_until(lambda: len(pids_of(run)) == 3, 120)
    assert submitted(tmp_path, *command).returncode == 0
    assert len(pids_of(run)) == 4
    [head] = [each for each in ray.children(recursive=True) if each.name() == "gcs_server"]
    head.kill()
    logs = Path(said["logs"]).parent
    wait_until(lambda: any("is lost; this worker goes on" in log.read_text() for log in logs.rglob("*.err")), 120)
    wait_until(lambda: not pids_of(run), 900)
    trials = [trial for trial in study.get_trials() if "worker" in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(30))
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [lost.number]
    assert len(trials) == 31 and (run / "architecture.json").exists()


@pytest.mark.slow
def test_its_workers_wait_for_a_database_that_is_restarted(tmp_path, cluster, database):
    """None of the trials is lost, none is done twice."""
    run = tmp_path / "run"
    command = [*SEARCH, "--strategy.trials", 12, "--strategy.epochs", 30, "--out", run, "--grace", 7200]
    done = submitted(tmp_path, *command, "--address", cluster[1], "--workers", 3, "--storage", database.address)
    assert done.returncode == 0, done.stderr
    study = begun(database.address)
    wait_until(lambda: study.get_trials(states=(TrialState.COMPLETE,)), 600)
    database.control("stop", "-m", "immediate")
    time.sleep(10)
    assert len(pids_of(run)) == 3
    database.control("start")
    wait_until(lambda: not pids_of(run), 900)
    logs = Path(json.loads(done.stdout)["logs"]).parent
    assert any("the study's storage is away" in log.read_text() for log in logs.rglob("*.err"))
    trials = [trial for trial in begun(database.address).get_trials() if "worker" in trial.user_attrs]
    assert sorted(trial.user_attrs["place"] for trial in trials) == list(range(12))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE} and (run / "architecture.json").exists()


def begun(address: str) -> optuna.Study:
    """The study, once somebody has begun it."""
    wait_until(lambda: "://" in address or Path(address).exists(), 120)
    storage = open_storage(address)
    wait_until(lambda: optuna.get_all_study_names(storage), 120)
    [name] = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def wait_until(holds, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_what_a_real_cluster_refuses(tmp_path, cluster):
    _, address = cluster
    words = [*SEARCH, "--out", tmp_path / "run", "--address", address]
    for asked, said in ((["--gpus", 1], "has 0: lower --gpus"), (["--workers", 5], "has 4: lower --workers")):
        done = submitted(tmp_path, *words, *asked)
        assert done.returncode == 2 and f"Ray's cluster {said}" in done.stderr
    assert not list((tmp_path / "submitted").iterdir())
