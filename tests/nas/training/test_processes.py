"""Two processes of one training, over gloo: what the first decides holds for both, and each ends with the other."""

import json
from pathlib import Path

import pytest

from tests.ranks import Ended, ended, ranks, started

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from torch import nn
from nas.training.machine import Machine
from nas.training.stage import Stage

torch.set_num_threads(1)
stage = Stage(Path(sys.argv[1]), "train", "", Machine(device="cpu", devices=2), quiet=True)
rank = stage.fabric.global_rank
net = nn.BatchNorm1d(2)
loop = stage.loop(4, 1, {"net": net})
for epoch in loop.epochs():
    net(torch.full((4, 2), float(rank + 1 + epoch)))
    for _ in loop.steps(lambda start: [0]):
        loop.add({"total": torch.tensor(1.0)})
    if rank == STOPS and epoch == 1:
        loop.stop("its own reason")
    loop.end_epoch()
print(rank, loop.epoch, loop.stopped or "-", *net.running_mean.tolist(), sep=",")
"""
DIES = """
import sys
from pathlib import Path
import torch
from torch import nn
from nas.errors import NonFiniteLoss
from nas.training.machine import Machine
from nas.training.stage import Stage

torch.set_num_threads(1)
machine = Machine(device="cpu", devices=2, checkpoint_minutes=0.0)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
stage = Stage(Path(sys.argv[1]), "train", "", machine, quiet=True)
rank, (die_at, spoil_at) = stage.fabric.global_rank, map(int, sys.argv[2:])
optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
loop = stage.loop(2, 4, {"net": net, "optimiser": optimiser})
try:
    for epoch in loop.epochs():
        for step in loop.steps(lambda start: range(start, 4)):
            if 4 * epoch + step == die_at:
                sys.exit(5)
            images = torch.randn(6, 3, generator=torch.Generator().manual_seed(100 * rank + 10 * epoch + step))
            loss = net(images).square().mean() + torch.rand(1 + rank).sum()
            loss = loss * (torch.nan if rank == 1 and 4 * epoch + step == spoil_at else 1)
            gradients = stage.mean(list(torch.autograd.grad(loss, list(net.parameters()))))
            for parameter, gradient in zip(net.parameters(), gradients):
                parameter.grad = gradient
            optimiser.step()
            loop.add({"total": loss})
        loop.end_epoch()
except NonFiniteLoss as error:
    print(str(error).partition(";")[0])
    sys.exit()
state = [tensor.flatten().tolist() for tensor in net.state_dict().values()]
print([state, loop.history if rank == 0 else [], torch.rand(3).tolist()])
"""
LAST = """
import atexit, sys
from pathlib import Path
import torch
from nas.training.machine import Machine
from nas.training.stage import Stage

def threads():
    return [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]

atexit.register(lambda: print(*threads()))  # after what the stage registers
stage = Stage(Path(sys.argv[1]), "train", "", Machine(device="cpu", devices=2), quiet=True)
stage.mean([torch.zeros(3)])
print(*threads())
"""
PEER = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
import torch
from nas.errors import exit_status
from nas.training.machine import Machine
from nas.training.stage import Stage

def work():
    stage = Stage(Path(sys.argv[1]), "retrain", "", Machine(device="cpu", devices=2), quiet=True)
    torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=2), None)
    with stage.working():
        for step in range(100):
            if step == 2 and stage.fabric.global_rank == 1:
                WAY
            stage.mean([torch.zeros(3)])

sys.exit(exit_status(work))
"""
CHILD = """
import subprocess, sys, time
from types import SimpleNamespace
from nas.system import peers

peers.PATIENCE_S = 0.1
launcher = SimpleNamespace(procs=[subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])])
peers.end_with_children(launcher)
assert not launcher.procs
with peers.working_together("retrain in run"):
    time.sleep(60)
"""
WAITS = """
import os, sys, time
from torch.distributed import TCPStore
from nas.system import peers

peers.PATIENCE_S, peers.LOOK_S, peers.SILENCE_S = 0.1, 0.1, 3.0
rank = int(os.environ["RANK"])
store = TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), 2, is_master=rank == 0)
peers.end_with_others(rank, 2)
with peers.working_together("search in run"):
    time.sleep(6 * (1 - rank))
    print("still there", flush=True)
    os._exit(9) if rank == int(sys.argv[1]) else time.sleep(60)
"""
GONE = "another of the processes that share the work has ended, or does not answer"


def run(code: str, *words: object) -> list[Ended]:
    return ended(ranks(["-c", code, *map(str, words)]))


@pytest.mark.medium
def test_the_first_decides_when_both_stop_and_statistics_are_one(tmp_path):
    found = run(SCRIPT.replace("STOPS", "0"), tmp_path)
    lines = [each.out.split(",") for each in found]
    assert [line[1:3] for line in lines] == [["2", "its own reason"]] * 2, found
    assert lines[0][3:] == lines[1][3:]
    first = 0.1 * 1.5
    assert float(lines[0][3]) == pytest.approx(0.9 * first + 0.1 * 2.5)


@pytest.mark.medium
def test_another_than_the_first_stops_nobody(tmp_path):
    found = run(SCRIPT.replace("STOPS", "1"), tmp_path)
    assert [each.out.split(",")[1:3] for each in found] == [["4", "-"]] * 2, found


@pytest.mark.medium
@pytest.mark.parametrize("die_at", [2, 5])
def test_two_killed_processes_go_on_as_if_nothing_had_happened(tmp_path, die_at):
    """Each with the statistics and random numbers of its own that it had in the middle of the epoch."""
    whole = run(DIES, tmp_path / "whole", -1, -1)
    assert [each.status for each in whole] == [0, 0], whole
    assert [each.status for each in run(DIES, tmp_path / "killed", die_at, -1)] == [5, 5]
    again = run(DIES, tmp_path / "killed", -1, -1)
    assert [each.out for each in again] == [each.out for each in whole]
    (net, history, chance), (other_net, _, other_chance) = (json.loads(each.out.replace("'", '"')) for each in whole)
    assert net == other_net and len(history) == 2 and chance != other_chance  # the first one's history counts


@pytest.mark.medium
def test_what_is_not_finite_in_one_ends_both(tmp_path):
    found = run(DIES, tmp_path, -1, 6)
    assert [each.status for each in found] == [0, 0], found
    assert found[0].out == found[1].out and found[0].out.startswith(
        "train: net.0.weight is no longer finite in epoch 1"
    )


@pytest.mark.medium
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are read from Linux's /proc")
def test_no_thread_of_gloo_is_left_when_a_process_ends(tmp_path):
    """One that lives on needs Python's lock while Python ends, and aborts the process then, one time in sixty."""
    for each in run(LAST, tmp_path):
        during, at_the_end = each.out.splitlines()
        assert each.status == 0 and "gloo" in during and "gloo" not in at_the_end, each


@pytest.mark.medium
@pytest.mark.parametrize("way", ["os._exit(9)", "time.sleep(5)"], ids=["dies", "hangs"])
def test_who_misses_another_says_in_which_stage(tmp_path, way):
    first = run(PEER.replace("WAY", way), tmp_path)[0]
    assert first.status == 2 and f"nas: retrain in {tmp_path}: {GONE}" in first.err


@pytest.mark.medium
@pytest.mark.parametrize("dies", [0, 1])
def test_who_waits_for_a_device_ends_with_processes_of_other_machines(dies):
    """Whether or not it is the one that keeps the store."""
    found = run(WAITS, dies)
    assert [each.status for each in found] == ([9, 2] if dies == 0 else [2, 9]), found
    assert found[1 - dies].err.endswith(
        f"nas: search in run: {GONE}: fix what it reported, if it did; the same "
        "command then resumes from the last checkpoint\n"
    )


@pytest.mark.medium
def test_who_waits_for_a_device_ends_with_the_processes_that_lightning_started():
    [found] = ended([started(["-c", CHILD], {})])
    assert found.status == 2 and found.err.startswith(f"nas: retrain in run: {GONE}")
