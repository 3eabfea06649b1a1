"""Other processes of this program that take part in the same work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from nas.errors import exit_status

STOP_S = 10.0
"""How long an interrupted worker has to give back its trial."""
SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def worker_processes(
    target: Callable[..., int | None], arguments: Sequence[Any], num_workers: int, folder: Path
) -> Iterator[None]:
    """Calls `target(*arguments)` in several new processes beside what is inside, and waits for them.

    target: a function at the top of a module; what it returns is the process's exit status. arguments: can be pickled.
    Each process writes what it says into `workers/` of the folder, and reads nothing. Says which of them died. The
    others do their work, so that this is no error. A script that calls this must do so below
    `if __name__ == "__main__":`, as new processes import it.
    """
    spawn = get_context("spawn")
    logs = [folder / "workers" / f"{number}.log" for number in range(num_workers)]
    logs[0].parent.mkdir(parents=True, exist_ok=True)
    name = f"{target.__module__}:{target.__qualname__}"
    with ExitStack() as stack:
        processes = []
        for log in logs:
            log.write_text("")
            process = spawn.Process(target=_work, args=(name, tuple(arguments), log))
            with _safe_path():
                process.start()
            processes.append(process)
            stack.callback(_ended, process)
        yield
        for process in processes:
            process.join()
    for log, process in zip(logs, processes, strict=True):
        if process.exitcode:
            said = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            print(f"nas: a worker ended with status {process.exitcode} ({log}): {said}", file=sys.stderr)


def threads_of(num_workers: int, threads: int) -> int:
    """For each of so many processes: `threads` if they are given, else its share of the processor."""
    return threads or max(1, (os.cpu_count() or 1) // num_workers)


def _work(name: str, arguments: tuple, log: Path) -> None:
    """In the new process: the target is imported only here, so that the log has what goes wrong with it, too."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(exit_status(lambda: resolve_name(name)(*arguments)))


@contextmanager
def _safe_path() -> Iterator[None]:
    """A Python that is started inside does not look for modules in the working folder, as `python -c` does."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _ended(process: BaseProcess) -> None:
    """Waits for a worker that was told to stop, and stops it when it takes too long."""
    process.join(STOP_S)
    if process.is_alive():
        process.terminate()
        process.join()
