"""The real command as `srun` and `torchrun` start it: one training on two nodes, or workers that share trials."""

import json
from pathlib import Path

import pytest

from nas.study.watch import watched
from tests.ranks import Ended, ended, free_port, started

ALONE = ["--teacher", "None", "--machine.device", "cpu", "--json"]


def tasks(words: list[str]) -> list[Ended]:
    """`srun --ntasks 2 nas WORDS`, without what only a cluster has."""
    job = {"SLURM_JOB_ID": "77", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}
    counts = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NNODES": "1", "SLURM_STEP_NUM_NODES": "1"}
    return ended(
        [
            started(["-m", "nas", *words], {**job, **counts, "SLURM_PROCID": str(place), "SLURM_LOCALID": str(place)})
            for place in range(2)
        ]
    )


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "search.history.jsonl").read_text().splitlines()]


@pytest.mark.medium
def test_the_tasks_of_srun_share_the_trials_of_a_search(tmp_path):
    words = ["search", "toy", "--strategy", "random", "--strategy.trials", "4", "--strategy.epochs", "2"]
    found = tasks([*words, *ALONE, "--out", str(tmp_path / "run")])
    assert [each.status for each in found] == [0, 0], found
    said = [json.loads(each.out) for each in found]
    assert said[0]["found"] == said[1]["found"] == str(tmp_path / "run" / "architecture.json")
    assert sorted(line["trial"] for line in history(tmp_path / "run")) == [0, 1, 2, 3]


@pytest.mark.medium
def test_the_tasks_of_srun_share_the_trials_of_tune(tmp_path):
    words = ["tune", "toy", "--small", "--parameters", "architecture", "--trials", "2", "--held-out", "0.25"]
    found = tasks([*words, *ALONE, "--out", str(tmp_path / "study")])
    assert [each.status for each in found] == [0, 0], found
    assert watched(tmp_path / "study")["done"] == 2


@pytest.mark.slow
def test_two_nodes_search_as_two_processes_of_one(tmp_path):
    """To the bit: by torchrun on each node, and by one command that starts its second process itself."""
    words = ["-m", "nas", "search", "toy", *ALONE]
    nodes, one, port = tmp_path / "nodes", tmp_path / "one", free_port()
    on_node = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    met = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    two = [
        started([*on_node, "--node-rank", str(node), *met, *words, "--machine.num-nodes", "2", "--out", str(nodes)], {})
        for node in range(2)
    ]
    found = ended([*two, started([*words, "--machine.devices", "2", "--out", str(one)], {})])
    assert [each.status for each in found] == [0, 0, 0], found
    assert json.loads(found[0].out)["found"] == str(nodes / "architecture.json") and found[1].out == ""
    assert history(nodes) == history(one) != []
    assert (nodes / "architectures.json").read_bytes() == (one / "architectures.json").read_bytes()
