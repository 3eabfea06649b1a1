"""What launchers say in the environment, and what a command makes of it before any work."""

from dataclasses import replace

import pytest

from nas.stages.search import check_search
from nas.strategies.nni.strategies import NNIOneShot
from nas.strategies.random_search import RandomSearch
from nas.system.launch import RANKS, Launch, check_launch, launch
from nas.training.machine import Machine
from runs.recipes.demo import toy

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
JOB = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
NODE = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def told(monkeypatch):
    for name in {*TORCHRUN, *SRUN, *JOB, *NODE, *RANKS}:
        monkeypatch.delenv(name, raising=False)

    def tell(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return tell


@pytest.mark.parametrize(
    "environment, expected",
    [
        (TORCHRUN, Launch("torchrun", 4, 2, 1)),
        (SRUN, Launch("srun", 4, 2, 1)),
        (SRUN | TORCHRUN, Launch("torchrun", 4, 2, 1)),
        (JOB, None),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}, None),
        ({}, None),
    ],
    ids=["torchrun", "srun", "both", "a job's script", "one task", "our own", "alone"],
)
def test_who_started_this_process(told, environment, expected):
    told(environment)
    assert launch() == expected


@pytest.mark.parametrize("name", RANKS)
def test_only_processes_that_share_steps_have_a_first_one(told, name):
    told({name: "1"})
    assert not Machine(devices=2).is_first and not Machine(num_nodes=2).is_first and Machine().is_first


@pytest.mark.parametrize(
    "environment, devices, nodes",
    [({}, 2, 1), (TORCHRUN, 2, 2), (SRUN, 2, 2), (JOB, 4, 1), (NODE, 2, 2)],
    ids=["alone", "torchrun", "srun", "a job's script", "by hand"],
)
def test_what_fits(told, environment, devices, nodes):
    told(environment)
    check_launch(devices, nodes)


@pytest.mark.parametrize(
    "environment, devices, nodes, said",
    [
        (TORCHRUN, 2, 1, "--machine.devices 2 and --machine.num-nodes 1 are 2 .* torchrun has started 4 on 2 nodes"),
        (SRUN, 4, 1, "are 4 processes, and srun has started 4 on 2 nodes: give the command and srun the same numbers"),
        ({**SRUN, "SLURM_LOCALID": "2"}, 2, 2, "are 2 processes on each node, and this one is number 3"),
        ({}, 1, 2, "start the command with torchrun or srun, or set NODE_RANK, .* missing here: NODE_RANK"),
        ({**NODE, "NODE_RANK": "2"}, 1, 2, "NODE_RANK must be 0 to 1 with --machine.num-nodes 2, not '2'"),
        ({**NODE, "NODE_RANK": "b"}, 1, 2, "NODE_RANK must be 0 to 1 with --machine.num-nodes 2, not 'b'"),
    ],
    ids=["too many", "other nodes", "uneven", "no environment", "no such node", "no number"],
)  # fmt: skip
def test_what_does_not_fit_is_said(told, environment, devices, nodes, said):
    told(environment)
    with pytest.raises(ValueError, match=said):
        check_launch(devices, nodes)


def test_trials_are_shared_by_workers():
    with pytest.raises(ValueError, match=r"start more workers: .* with torchrun or srun"):
        Machine(devices=2, num_nodes=2).check_alone()


@pytest.mark.parametrize(
    "strategy, said",
    [(RandomSearch(), "a trial trains on one device"), (NNIOneShot(algorithm="ENAS"), "not known to search rightly")],
    ids=["trials", "unknown"],
)
def test_a_strategy_that_shares_no_steps_is_refused_several_processes(strategy, said):
    with pytest.raises(ValueError, match=said):
        check_search(replace(toy(), strategy=strategy, machine=Machine(devices=2)))


def test_each_worker_takes_the_gpu_of_its_place(told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Machine()._devices() == 1
    told({**SRUN, "SLURM_LOCALID": "3"})
    assert Machine()._devices() == [1] and Machine(device="cpu")._devices() == 1
    assert Machine(devices=2)._devices() == 2


def test_more_gpus_than_there_are(told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ValueError, match="--machine.devices 3 needs as many GPUs on each node, and torch sees 2 here"):
        Machine(devices=3).check()
