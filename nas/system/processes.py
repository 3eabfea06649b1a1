"""Other processes of this program that take part in the same work."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import psutil

from nas.errors import exit_status, open_streams
from nas.system import plugins
from nas.system.locks import check_can_share

SPAWN = get_context("spawn")

STOP_S = 10.0
"""How long an interrupted worker has to give back its trial."""
LOOK_S = 1.0
"""Between looks at whether the process that started this one is there."""
SAFE_PATH = "PYTHONSAFEPATH"
LAUNCHER = "NAS_LAUNCHER"
"""The number of the process that started others to share its batches, in their environment."""


@contextmanager
def worker_processes(
    target: Callable[..., int | None], arguments: Sequence[Any], num_workers: int, folder: Path
) -> Iterator[None]:
    """Calls `target(*arguments)` in several new processes beside what is inside, and waits for them.

    target: a function at the top of a module; what it returns is the process's exit status. arguments: can be pickled.
    Each process writes what it says into `workers/` of the folder, and reads nothing. Says which of them died. The
    others do their work, so that this is no error. When what is inside fails, or this process is killed, they are told
    to stop. A script that calls this must do so below `if __name__ == "__main__":`, as new processes import it.
    """
    check_can_share()
    logs = [folder / "workers" / f"{number}.log" for number in range(num_workers)]
    logs[0].parent.mkdir(parents=True, exist_ok=True)
    name = f"{target.__module__}:{target.__qualname__}"
    processes: list[SpawnProcess] = []
    with ExitStack() as stack:
        stack.callback(_end, processes)
        line = stack.enter_context(lifeline())
        for log in logs:
            log.write_text("")
            process = SPAWN.Process(target=_work, args=(name, tuple(arguments), plugins.loaded(), log, line))
            with safe_path():
                process.start()
            processes.append(process)
        yield
        for process in processes:
            process.join()
    for log, process in zip(logs, processes, strict=True):
        if process.exitcode:
            said = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            print(f"nas: a worker ended with status {process.exitcode} ({log}): {said}", file=sys.stderr)


@contextmanager
def lifeline() -> Iterator[Connection]:
    """For new processes to hold on to, see `end_with`: it is cut when the inside is left, or this process is dead."""
    theirs, ours = SPAWN.Pipe(duplex=False)
    with theirs, ours:
        yield theirs


def end_with(line: Connection, patience_s: float = 0.0) -> None:
    """Has this process stop, as by SIGTERM, when its parent is dead or cuts the line; when it has not after so many
    seconds, it ends at once. The way of every system: Linux alone could have the kernel send the signal."""

    stop_after(lambda: wait([line]), patience_s)


def end_with_launcher() -> None:
    """As `end_with`, for a process that another library starts with the first one's command and environment: the first
    of them to call this notes itself there. Not on Windows, where a process keeps the number of a dead parent."""
    launcher = int(os.environ.setdefault(LAUNCHER, str(os.getpid())))

    def wait_for_its_end() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK_S)

    if launcher != os.getpid():
        stop_after(wait_for_its_end, STOP_S)


def stop_after(wait_for_end: Callable[[], object], patience_s: float = STOP_S) -> None:
    """Has this process stop, as by SIGTERM, when `wait_for_end` returns, and at once when it has not after so many
    seconds."""

    def watch() -> None:
        wait_for_end()
        if callable(signal.getsignal(signal.SIGTERM)):  # else another signal came before
            _interrupt()
        time.sleep(patience_s)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt() -> None:
    """SIGTERM for the main thread, which wakes it where the system can."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        interrupt_main(signal.SIGTERM)


@cache
def machine_name() -> str:
    """Of this machine since it was started, as far as one process sees another: a container is one of its own."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return "/".join(facts)


def process_name() -> str:
    """Of this process: no other one, anywhere and at any time, has it."""
    return f"{machine_name()} {os.getpid()} {psutil.Process().create_time()}"


def is_gone(name: str) -> bool:
    """Whether the process that had this `process_name` is known to be dead: it was on this machine, and is not."""
    machine, _, process = name.partition(" ")
    if machine != machine_name():
        return False
    number, created = process.split(" ")
    try:
        other = psutil.Process(int(number))
        return other.create_time() != float(created) or other.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def threads_of(num_workers: int, threads: int) -> int:
    """For each of so many processes: `threads` if they are given, else its share of the processor."""
    return threads or max(1, (os.cpu_count() or 1) // num_workers)


def _work(name: str, arguments: tuple, files: Sequence[Path], log: Path, line: Connection) -> None:
    """In the new process: the target is imported only here, so that the log has what goes wrong with it, too."""
    open_streams()
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    end_with(line, STOP_S)

    def work() -> int | None:
        for file in files:
            plugins.load(file)
        return resolve_name(name)(*arguments)

    sys.exit(exit_status(work))


@contextmanager
def safe_path() -> Iterator[None]:
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


def _end(processes: Sequence[BaseProcess]) -> None:
    """Waits for workers that were told to stop, and ends those that take too long."""
    for process in processes:
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()
