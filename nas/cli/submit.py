"""`nas submit COMMAND...`: starts workers of a study through submitit, here or on SLURM."""

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
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any, Literal
from unittest.mock import patch

import tyro

from nas.cli.files import say
from nas.cli.flags import pop_options
from nas.cli.parse import parse
from nas.errors import PLUGIN, first_line, named
from nas.study.place import STORAGE
from nas.system import plugins
from nas.system.mounts import file_system_of, is_network
from nas.system.processes import threads_of
from search_spaces.ranges import Count, Name, Processes, Range, Ranged

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

WORDS = {word: f"nas.cli.{word}" for word in ("search", "tune", "ablate", "tabulate", "reproduce")}
"""The commands whose trials several workers can share, by the module of each, which has `folder_of`."""
NOT_SHARED = ("--overwrite", "--plan", "--dashboard", "--work-only")
FLAGS = ("--engine", "--nodes", "--workers", "--gpus", "--cpus", "--hours", "--partition")
MOST_REQUEUED = 1_000
"""Time-outs after which SLURM does not take a job again."""
PROG = "nas submit COMMAND ..."
THREADS = "--machine.threads"
USAGE = """usage: nas submit COMMAND ... [--engine local|slurm] [--nodes N] [--workers N] [--gpus N] [--cpus N]
                  [--hours H] [--partition NAME] [--json]

Starts workers of `nas search`, `nas tune`, `nas ablate`, `nas tabulate` or `nas reproduce`: each is a job that takes
part in the same study, and goes on when this command has ended. The same command again adds as many. A job that SLURM
preempts, or that runs out of time, is queued again. `nas show` says how far the study is.

Example: nas submit tune fast_reid --data.root data --engine slurm --nodes 4 --gpus 1 --hours 24
"""

LOG_LEVEL = "SUBMITIT_LOG_LEVEL"


@dataclass(frozen=True)
class Submission(Ranged):
    """What the command takes beside the command that is submitted."""

    engine: Annotated[
        Literal["local", "slurm"], tyro.conf.arg(help="who starts the workers: this machine, or SLURM")
    ] = "local"
    nodes: Annotated[Count, tyro.conf.arg(help="machines whose workers are asked for; SLURM may put them on fewer")] = 1
    workers: Annotated[
        Processes | None, tyro.conf.arg(help="workers for each of --nodes; by default one for each GPU, or one")
    ] = None
    gpus: Annotated[
        int, Range(least=0, most=64), tyro.conf.arg(help="GPUs of each of --nodes: a worker has one; 0: none")
    ] = 0
    cpus: Annotated[Count | None, tyro.conf.arg(help="processor cores of each worker, on SLURM")] = None
    hours: Annotated[
        float,
        Range(least=0.1, most=8_760.0),
        tyro.conf.arg(help="how long a worker may run before it is queued again"),
    ] = 24.0
    partition: Annotated[Name | None, tyro.conf.arg(help="the partition of SLURM; by default SLURM's own")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus and self.workers not in (None, self.gpus):
            raise ValueError(f"a worker has one GPU, and --gpus is {self.gpus}: leave --workers out")
        if self.engine == "local" and (self.nodes > 1 or self.partition):
            raise ValueError(
                "--engine local is this machine alone: give --workers N for N of them, and leave out --nodes and "
                "--partition, or take --engine slurm"
            )

    @property
    def num_workers(self) -> int:
        return self.nodes * (self.workers or self.gpus or 1)


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


def main(arguments: Sequence[str]) -> int:
    """Runs `nas submit ARGUMENTS`; the exit status. Raises ValueError for what cannot be started."""
    asked, command = pop_options(FLAGS, [word for word in arguments if word != "--json"])
    if not command or command[0].startswith("-"):
        if {"-h", "--help"} & set(command):
            parse(Submission, ["--help"], prog=PROG, description=USAGE.partition("\n\n")[2])
        print(USAGE)
        return 2
    flags = [word for pair in asked.items() for word in pair]
    given: Submission = parse(Submission, flags, prog=PROG)
    folder = _checked(command)
    ids, logs = _submit(given, command, folder)
    gc.collect()  # submitit's jobs are circles, of which Python's exit would complain
    if "--json" not in arguments:
        stop = "scancel" if given.engine == "slurm" else "kill -INT"
        print(
            f"{len(ids)} worker{'s' * (len(ids) != 1)} of `nas {command[0]}` ({given.engine}): {' '.join(ids)}\n"
            f"Once they have begun, `nas show {folder}` says how far they are; `{stop} ID` stops one, and the same "
            "command adds as many."
        )
        if given.engine == "local" and not given.gpus:
            print("They see no GPU: --gpus N has N workers with one each.")
    said = {"jobs": ids, "engine": given.engine, "run": str(folder), "logs": str(logs)}
    say(said, [("logs", logs)], "--json" in arguments)
    return 0


def _checked(command: Sequence[str]) -> Path:
    """The folder of the study. Raises ValueError for a command that several workers cannot share, or that would be
    refused."""
    word, *rest = command
    module = named("command of trials", word, WORDS)
    for flag in NOT_SHARED:
        if any(each.partition("=")[0] == flag for each in rest):
            raise ValueError(f"{flag} is not for workers that share a study: leave it out, or give `nas {word}` alone")
    if not rest or {"-h", "--help"} & set(rest):
        raise ValueError(f"`nas {word}` needs to know what to work at: `nas {word} --help` says how it is given")
    return resolve_name(f"{module}:folder_of")(rest)


def _submit(given: Submission, command: Sequence[str], folder: Path) -> tuple[list[str], Path]:
    """The jobs' names, and the folder of their logs, which nobody else may write to: submitit runs what lies there."""
    submitit = _submitit()
    if given.engine == "slurm":
        _check_slurm(given, command, folder)
    else:
        _check_gpus(given.gpus)
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{token_hex(2)}"
    logs = (folder.parent / "submitted" / stamp).absolute()
    logs.parent.mkdir(parents=True, exist_ok=True)
    logs.mkdir(mode=0o700)
    plugged = [word for file in plugins.loaded() for word in (PLUGIN, str(file))]
    worker = Worker((*plugged, *command))
    minutes = max(1, round(60 * given.hours))
    if given.engine == "local":
        return _start_here(submitit, worker, given, minutes, logs), logs
    executor = submitit.SlurmExecutor(logs, max_num_timeout=MOST_REQUEUED)
    asked = {
        "time": minutes,
        "gpus_per_node": 1 if given.gpus else None,
        "cpus_per_task": given.cpus,
        "partition": given.partition,
        "array_parallelism": given.num_workers,
        "job_name": f"nas-{command[0]}",
        "additional_parameters": {"requeue": True},
    }
    executor.update_parameters(**{name: value for name, value in asked.items() if value is not None})
    try:
        with executor.batch():
            jobs = [executor.submit(worker) for _ in range(given.num_workers)]
    except RuntimeError as error:
        shutil.rmtree(logs)
        raise ValueError(f"SLURM refuses the jobs, ask for others: {first_line(error)}") from error
    return [job.job_id for job in jobs], logs


def _start_here(submitit: Any, worker: Worker, given: Submission, minutes: int, logs: Path) -> list[str]:
    """The workers as processes of this machine, which share its threads."""
    arguments = worker.arguments
    if not any(word.partition("=")[0] == THREADS for word in arguments):
        arguments = (*arguments, THREADS, str(threads_of(given.num_workers, 0)))
    executor, ids = submitit.LocalExecutor(logs, max_num_timeout=MOST_REQUEUED), []
    for number in range(given.num_workers):
        gpu = {"gpus_per_node": 1, "visible_gpus": [number]} if given.gpus else {}
        executor.update_parameters(timeout_min=minutes, **gpu)
        with _outliving():
            ids.append(executor.submit(Worker(arguments)).job_id)
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
