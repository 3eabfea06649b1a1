"""Two processes of one training, over gloo: what the first decides holds for both."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import os, sys
from pathlib import Path
import torch
from lightning.fabric import Fabric
from torch import nn
from nas.training.machine import Machine
from nas.training.stage import Stage

torch.set_num_threads(1)
rank = int(os.environ["RANK"])
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
stage = Stage(Path(sys.argv[1]), "train", "", Machine(device="cpu", devices=2), fabric, quiet=True)
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


def run(folder, stops):
    """Both processes' exit status and last line of output, the first one's first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = SCRIPT.replace("STOPS", str(stops))
    started = []
    for rank in range(2):
        own = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "GROUP_RANK": "0",
        }
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
        env = {**os.environ, **own, **shared, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(folder)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
    try:
        said = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        (process.returncode, out.strip().splitlines()[-1:], err)
        for process, (out, err) in zip(started, said, strict=True)
    ]


@pytest.mark.medium
def test_the_first_decides_when_both_stop_and_statistics_are_one(tmp_path):
    found = run(tmp_path / "first", stops=0)
    lines = [out[0].split(",") for _, out, _ in found]
    assert [line[1:3] for line in lines] == [["2", "its own reason"]] * 2, found
    assert lines[0][3:] == lines[1][3:]
    first = 0.1 * 1.5
    assert float(lines[0][3]) == pytest.approx(0.9 * first + 0.1 * 2.5)


@pytest.mark.medium
def test_another_than_the_first_stops_nobody(tmp_path):
    found = run(tmp_path / "other", stops=1)
    assert [out[0].split(",")[1:3] for _, out, _ in found] == [["4", "-"]] * 2, found
