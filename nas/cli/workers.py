"""How the commands that work at a study do so: here, or in processes that are given the same command."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nas.cli.arguments import Options
from nas.study.place import GRACE_S, STORAGE, Place
from nas.system.processes import threads_of, worker_processes
from nas.system.progress import tell
from search_spaces.ranges import Positive, Processes

if TYPE_CHECKING:
    from nas.study.engine import Engine


@dataclass(frozen=True)
class StudyOptions(Options):
    """What the commands that make a study of recipes take beside its contents."""

    workers: Annotated[Processes, tyro.conf.arg(help="processes that work at the study here")] = 1
    storage: Annotated[
        str,
        tyro.conf.arg(
            help="a file (SQLite, or a journal: .journal), a database's address (postgresql://user@host/database), or "
            "Optuna's proxy before one (grpc://host:port, experimental); a password goes into ~/.pgpass or PGPASSWORD; "
            "by default what NAS_STORAGE says, else study.journal in --out"
        ),
    ] = ""
    study: Annotated[str, tyro.conf.arg(help="the study's name in the storage; by default that of the folder")] = ""
    grace: Annotated[
        Positive,
        tyro.conf.arg(
            help="seconds without a sign of life after which a worker on another machine is taken for dead and its "
            "work done again"
        ),
    ] = GRACE_S
    work_only: Annotated[bool, tyro.conf.arg(help="take part and write no results: what --workers starts")] = False

    def place(self, folder: Path) -> Place:
        """Where the study is; `folder`: where it is by default. Raises ValueError when it is to be overwritten."""
        if self.overwrite:
            raise ValueError(
                "a study is not overwritten, others may work at it: give --out another folder, or remove it"
            )
        if not self.work_only:
            warn_of_password(self.storage)
        storage = self.storage or os.environ.get(STORAGE, "")
        return Place(folder=self.out or folder, storage=storage, study=self.study, grace_s=self.grace)


def warn_of_password(address: str) -> None:
    from nas.study.storage import secrets_in

    if secrets_in(address):
        warnings.warn(
            f"the list of processes shows the password on this command line to everybody here: give the address in "
            f"{STORAGE}, or the password in ~/.pgpass or PGPASSWORD",
            stacklevel=2,
        )


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
