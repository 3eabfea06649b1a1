"""Four processes of one training over gloo: on two nodes they give what they give on one."""

import json
import os
import shutil
import subprocess

import pytest

from tests.ranks import HERE, Ended, Node, ended, ranks

SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from nas.training.machine import Machine
from nas.training.stage import Stage

torch.set_num_threads(1)
torch.manual_seed(0)
folder, devices, num_nodes = sys.argv[1:]
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
machine = Machine(device="cpu", devices=int(devices), num_nodes=int(num_nodes))
stage = Stage(Path(folder), "train", "", machine, quiet=True)
optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
loop = stage.loop(2, 3, {"net": net, "optimiser": optimiser})
for epoch in loop.epochs():
    for step in loop.steps(lambda start: range(start, 3)):
        seed = 100 * stage.fabric.global_rank + 10 * epoch + step
        loss = net(torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))).square().mean()
        gradients = stage.mean(list(torch.autograd.grad(loss, list(net.parameters()))))
        for parameter, gradient in zip(net.parameters(), gradients):
            parameter.grad = gradient
        optimiser.step()
        loop.add({"total": loss})
    loop.end_epoch()
print([tensor.tolist() for tensor in net.state_dict().values()])
"""
NETWORK = "10.213.77"


def run(folder, num: int, nodes: tuple[Node, ...], address: str = "127.0.0.1") -> list[Ended]:
    return ended(ranks(["-c", SCRIPT, str(folder), str(num), str(len(nodes))], num, nodes, address))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespaces():
    """Two network namespaces with a cable between them, as two machines have: neither sees the other's loopback."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    names = [f"nas-{os.getpid()}-{number}" for number in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield tuple(Node(("ip", "netns", "exec", name), {"GLOO_SOCKET_IFNAME": "cable"}) for name in names)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_two_nodes_on_two_networks_train_as_one(tmp_path, namespaces):
    same_as_on_one_node(tmp_path, run(tmp_path / "nodes", 2, namespaces, f"{NETWORK}.1"))


@pytest.mark.slow
def test_two_nodes_of_one_machine_train_as_one(tmp_path):
    same_as_on_one_node(tmp_path, run(tmp_path / "nodes", 2, (HERE, HERE)))


def same_as_on_one_node(folder, found: list[Ended]) -> None:
    """To the bit, in each of the four processes."""
    of_one = run(folder / "one", 4, (HERE,))
    assert [each.status for each in (*found, *of_one)] == [0] * 8, (found, of_one)
    weights = [json.loads(each.out) for each in (*found, *of_one)]
    assert weights[0] == weights[-1] != [] and all(each == weights[0] for each in weights)
