"""Workers as jobs of submitit: processes of this machine, or jobs of SLURM."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from nas.cli.flags import pop_options
from nas.cli.submit.submission import Submission, arguments_of, folder_of_logs
from nas.errors import first_line, named
from nas.study.place import STORAGE
from nas.system.mounts import file_system_of, is_network
from nas.system.processes import safe_path, threads_of

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

MOST_REQUEUED = 1_000
"""Time-outs after which SLURM does not take a job again."""
LOG_LEVEL = "SUBMITIT_LOG_LEVEL"


@dataclass(frozen=True)
class Worker:
    """A job: the command, which joins the study. submitit keeps it in a file."""

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Raises SystemExit with the command's status, by which SLURM knows that it failed."""
        from nas.cli.main import main

        sys.argv = ["nas", *self.arguments]
        if status := main(self.arguments):
            sys.exit(status)

    def checkpoint(self) -> DelayedSubmission:
        """What is queued again for a job that is preempted or out of time: the same command goes on."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)


def start(given: Submission, command: Sequence[str], folder: Path) -> tuple[list[str], Path]:
    """The jobs' names, and the folder of their logs, which nobody else may write to: submitit runs what lies there.

    Raises ValueError without submitit, and for what this machine or SLURM does not have.
    """
    submitit = _submitit()
    if given.engine == "slurm":
        _check_slurm(given, command, folder)
    else:
        _check_gpus(given.gpus)
    logs = folder_of_logs(folder)
    begin = _start_on_slurm if given.engine == "slurm" else _start_here
    with safe_path():  # submitit's own processes are `python -m`
        ids = begin(submitit, given, command, logs)
    gc.collect()  # submitit's jobs are circles, of which Python's exit would complain
    return ids, logs


def _start_on_slurm(submitit: Any, given: Submission, command: Sequence[str], logs: Path) -> list[str]:
    executor = submitit.SlurmExecutor(logs, max_num_timeout=MOST_REQUEUED)
    asked = {
        "time": given.minutes,
        "gpus_per_node": 1 if given.gpus else None,
        "cpus_per_task": given.cpus,
        "partition": given.partition,
        "array_parallelism": given.num_workers,
        "job_name": f"nas-{command[0]}",
        "additional_parameters": {"requeue": True},
    }
    executor.update_parameters(**{name: value for name, value in asked.items() if value is not None})
    worker = Worker(arguments_of(command))
    try:
        with executor.batch():
            jobs = [executor.submit(worker) for _ in range(given.num_workers)]
    except RuntimeError as error:
        shutil.rmtree(logs)
        raise ValueError(f"SLURM refuses the jobs, ask for others: {first_line(error)}") from error
    return [job.job_id for job in jobs]


def _start_here(submitit: Any, given: Submission, command: Sequence[str], logs: Path) -> list[str]:
    """The workers as processes of this machine, which share its threads."""
    worker = Worker(arguments_of(command, threads_of(given.num_workers, 0)))
    executor, ids = submitit.LocalExecutor(logs, max_num_timeout=MOST_REQUEUED), []
    for number in range(given.num_workers):
        gpu = {"gpus_per_node": 1, "visible_gpus": [number]} if given.gpus else {}
        executor.update_parameters(timeout_min=given.minutes, **gpu)
        with _outliving():
            ids.append(executor.submit(worker).job_id)
    return ids


@contextmanager
def _outliving() -> Iterator[None]:
    """What is started inside hears no hang-up of the terminal, and holds none of this process's streams open."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept, nothing = [os.dup(stream) for stream in range(3)], os.open(os.devnull, os.O_RDWR)
    try:
        for stream in range(3):
            os.dup2(nothing, stream)
        yield
    finally:
        for stream, copy in enumerate(kept):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nothing)
        signal.signal(signal.SIGHUP, before)


def _submitit() -> Any:
    """submitit, which as it is imported closes all handlers of logs that there are, unless its variable forbids it."""
    try:
        with patch.dict(os.environ, {LOG_LEVEL: "NOCONFIG"}):  # its jobs hear what the user has set
            import submitit
    except ModuleNotFoundError:
        raise ValueError("`nas submit` needs submitit: pip install 'nas-reid[submit]'") from None
    return submitit


def _check_gpus(num_gpus: int) -> None:
    if num_gpus:
        import torch

        if num_gpus > torch.cuda.device_count():
            raise ValueError(f"--gpus is {num_gpus}, and torch sees {torch.cuda.device_count()} here: give --gpus that")


def _check_slurm(given: Submission, command: Sequence[str], folder: Path) -> None:
    """Raises ValueError without SLURM, or without the partition; warns of a folder that may be this machine's alone."""
    if missing := [program for program in ("sbatch", "srun", "sinfo") if shutil.which(program) is None]:
        raise ValueError(
            f"--engine slurm needs SLURM's {', '.join(missing)}: give the command on a login node, or --engine local"
        )
    asked = subprocess.run(["sinfo", "--noheader", "--format", "%R"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f"SLURM does not answer ({asked.stderr.strip()}): ask who runs it, or take --engine local")
    if given.partition:
        named("partition of SLURM", given.partition, dict.fromkeys(asked.stdout.split()))
    stored = pop_options(("--storage",), command)[0].get("--storage") or os.environ.get(STORAGE, "")
    kind = file_system_of(folder)
    if "://" not in stored and not is_network(kind):
        warnings.warn(
            f"{folder} is on {kind or 'a disk'} here: if not every node sees it there, give --out a shared folder",
            stacklevel=2,
        )
