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


def started(words: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """A process of Python, which finds the toolkit and the tests."""
    return subprocess.Popen(
        [sys.executable, "-P", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
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


def ranks(words: list[str], num: int = 2) -> list[subprocess.Popen]:
    """`num` processes on one node, as torchrun starts them."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num)}
    of_node = {"LOCAL_WORLD_SIZE": str(num), "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    return [started(words, {**shared, **of_node, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(num)]
