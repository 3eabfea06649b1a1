"""What `nas submit` is asked for, and what every engine does alike: the workers' command, and where their logs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Literal

import tyro

from nas.errors import PLUGIN
from nas.system import plugins
from search_spaces.ranges import Count, Name, Processes, Range, Ranged

THREADS = "--machine.threads"


@dataclass(frozen=True)
class Submission(Ranged):
    """What the command takes beside the command that is submitted."""

    engine: Annotated[
        Literal["local", "slurm", "ray"],
        tyro.conf.arg(help="who starts the workers: this machine, SLURM, or a cluster of Ray"),
    ] = "local"
    nodes: Annotated[
        Count, tyro.conf.arg(help="machines whose workers are asked for; the engine may put them on fewer")
    ] = 1
    workers: Annotated[
        Processes | None, tyro.conf.arg(help="workers for each of --nodes; by default one for each GPU, or one")
    ] = None
    gpus: Annotated[
        int, Range(least=0, most=64), tyro.conf.arg(help="GPUs of each of --nodes: a worker has one; 0: none")
    ] = 0
    cpus: Annotated[Count | None, tyro.conf.arg(help="processor cores of each worker, on SLURM and Ray")] = None
    hours: Annotated[
        Annotated[float, Range(least=0.1, most=8_760.0)] | None,
        tyro.conf.arg(help="how long a worker may run before it is queued again, by default 24; not on Ray"),
    ] = None
    partition: Annotated[Name | None, tyro.conf.arg(help="the partition of SLURM; by default SLURM's own")] = None
    address: Annotated[
        Name | None, tyro.conf.arg(help="Ray's head, as host:port; by default auto, the cluster of this machine")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus and self.workers not in (None, self.gpus):
            raise ValueError(f"a worker has one GPU, and --gpus is {self.gpus}: leave --workers out")
        if self.engine == "local" and (self.nodes > 1 or self.partition):
            raise ValueError(
                "--engine local is this machine alone: give --workers N for N of them, and leave out --nodes and "
                "--partition, or take --engine slurm"
            )
        if self.engine == "ray" and (self.partition or self.hours):
            raise ValueError("Ray has no partitions and no limit of time: leave out --partition and --hours")
        if self.engine != "ray" and self.address:
            raise ValueError(f"--address is that of a cluster of Ray: give --engine ray, not {self.engine}")

    @property
    def num_workers(self) -> int:
        return self.nodes * (self.workers or self.gpus or 1)

    @property
    def minutes(self) -> int:
        """How long a worker may run."""
        return max(1, round(60 * (self.hours or 24.0)))


def arguments_of(command: Sequence[str], threads: int = 0) -> tuple[str, ...]:
    """What a worker gives to `nas`: the command, this process's plugins before it and, unless it has some or they are
    0, the worker's threads behind it."""
    plugged = [word for file in plugins.loaded() for word in (PLUGIN, str(file))]
    has_threads = any(word.partition("=")[0] == THREADS for word in command)
    return (*plugged, *command, *([THREADS, str(threads)] if threads and not has_threads else []))


def folder_of_logs(folder: Path) -> Path:
    """A new folder beside the study's, into which nobody else may write."""
    logs = (folder.parent / "submitted" / f"{datetime.now():%Y%m%d-%H%M%S}-{token_hex(2)}").absolute()
    logs.parent.mkdir(parents=True, exist_ok=True)
    logs.mkdir(mode=0o700)
    return logs
