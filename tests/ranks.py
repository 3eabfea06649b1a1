"""Several processes of one training, over gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Node(NamedTuple):
    """Where processes are started: behind these words, with these variables."""

    within: tuple[str, ...] = ()
    environment: dict[str, str] = {}


HERE = Node()


def started(words: list[str], environment: dict[str, str], node: Node = HERE) -> subprocess.Popen:
    """A process of Python, which finds the toolkit and the tests."""
    return subprocess.Popen(
        [*node.within, sys.executable, "-P", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **node.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(processes: list[subprocess.Popen], seconds: float = 300) -> list[Ended]:
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def ranks(
    words: list[str], num: int = 2, nodes: tuple[Node, ...] = (HERE,), address: str = "127.0.0.1"
) -> list[subprocess.Popen]:
    """`num` processes on each node, as torchrun starts them; `address` is the first node's."""
    shared = {"MASTER_ADDR": address, "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num * len(nodes))}
    shared |= {"LOCAL_WORLD_SIZE": str(num), "GROUP_WORLD_SIZE": str(len(nodes))}
    return [
        started(
            words,
            {**shared, "GROUP_RANK": str(group), "RANK": str(num * group + rank), "LOCAL_RANK": str(rank)},
            node,
        )
        for group, node in enumerate(nodes)
        for rank in range(num)
    ]
