"""Other processes of this program that take part in the same work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

STOP_S = 10.0
"""How long an interrupted worker has to give back its trial."""


@contextmanager
def worker_processes(arguments: Sequence[str], num_workers: int, folder: Path) -> Iterator[None]:
    """Runs `nas ARGUMENTS` in several processes beside what is inside, and waits for them.

    Each writes what it says into `workers/` of the folder. Says which of them died. The others do their work, so that
    this is no error.
    """
    command = [sys.executable, "-m", "nas.cli.main", *arguments]
    logs = [folder / "workers" / f"{number}.log" for number in range(num_workers)]
    logs[0].parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        processes = []
        for log in logs:
            file = stack.enter_context(log.open("w"))
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT))
            stack.callback(_ended, processes[-1])
        yield
        statuses = [process.wait() for process in processes]
    for log, status in zip(logs, statuses, strict=True):
        if status:
            said = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            print(f"nas: a worker ended with status {status} ({log}): {said}", file=sys.stderr)


def threads_of(num_workers: int, threads: int) -> int:
    """For each of so many processes: `threads` if they are given, else its share of the processor."""
    return threads or max(1, (os.cpu_count() or 1) // num_workers)


def _ended(process: subprocess.Popen) -> None:
    """Waits for a worker that was told to stop, and stops it when it takes too long."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
