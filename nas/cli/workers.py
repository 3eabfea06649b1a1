"""How the commands that work at a study do so: here, or in processes that are given the same command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nas.study.engine import Engine
from nas.system.processes import threads_of, worker_processes
from nas.system.progress import tell


def work_at_study(
    word: str,
    work: Callable[[], object],
    main: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    num_workers: int,
    threads: int,
    folder: Path,
    engine: Engine,
) -> None:
    """Calls `work`, or `main` with `arguments` and `--work-only` in several processes with their share of the threads.

    Raises ValueError when trials are left, as no worker is.
    """
    if num_workers == 1:
        work()
    else:
        tell(f"{word}: {num_workers} workers, each says more in {folder / 'workers'}", folder)
        share = str(threads_of(num_workers, threads))
        again = [*arguments, "--workers", "1", "--work-only", "--machine.threads", share]
        with worker_processes(main, (again,), num_workers, folder):
            pass
    if num_open := engine.num_open:
        raise ValueError(
            f"{num_open} of {engine.num_trials} trials have not ended, as no worker is left; {folder / 'workers'} has "
            "what each of them said, and the same command goes on"
        )
