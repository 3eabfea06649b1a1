"""`nas bench deploy`: what a run's networks take in the runtimes that are here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from nas.models.network import Network
from nas.models.onnx_export import as_onnx
from nas.models.runtimes import RUNTIMES, runtime_named
from nas.system.peak_memory import MIB, peak_memory_mib
from nas.tasks import task_named
from nas.tasks.base import FindsPersons
from search_spaces.cost.latency import Timing, num_threads, time_calls
from search_spaces.deploy import deploy as deployed_form
from search_spaces.ranges import Count, Pixels, RuntimeName, checked

ROLES = ("baseline", "student", "teacher", "random-cell", "taught-baseline")
"""The networks of a run, the one that the others are compared with first."""
BATCHES, THREADS = (1, 8), (1, 2)
NUM_WARMUP = 5
DEMO = Path("runs/out/demo-seed0")
ON = "onnxruntime"
PLAIN = "student plain"
"""The student before BatchNorms are folded and operations are merged, in `ON` alone."""


@dataclass(frozen=True)
class Case:
    """A network in a runtime, with a number of images and of threads."""

    role: str
    runtime: str
    batch: int
    threads: int

    @property
    def title(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.role}, {self.runtime}, batch {self.batch}, {threads}"


@checked
def deploy(
    run: Path = DEMO,
    height: Pixels | None = None,
    width: Pixels | None = None,
    runtimes: tuple[RuntimeName, ...] = (),
    repeats: Count = 50,
) -> dict[str, dict[str, float]]:
    """The networks of a run, as they are deployed, in every runtime that is here: batches of 1 and 8, 1 and 2 threads.
    Those of person search take one image at a time.

    `ms`: median per image over `repeats`; `low` and `high`: a tenth is faster, a tenth slower; `processor_ms`: of all
    threads together; `images_per_second`: per thread; `ratio`: to the baseline, or else the run's first network, in the
    same place. `plain` is the student before BatchNorms are folded and operations are merged. `file_mib`: of the ONNX
    file; `memory_mib`: what a process holds at most that does nothing but run it. Raises ValueError for a folder
    without networks, and for a runtime that is not here.
    """
    networks = _networks(run)
    height, width = _size(run, networks, height, width)
    names = runtimes or at_hand()
    forms = _forms(networks, height, width)
    measured: dict[Case, Timing] = {}
    for threads in THREADS[: os.cpu_count()]:
        with num_threads(threads):
            measured |= _timed(forms, names, threads, height, width, repeats)
    rows = {case.title: _row(case, timing, measured) for case, timing in measured.items()}
    for role in networks:
        title = Case(role, ON, 1, 1).title
        if title in rows:
            rows[title] |= _sizes(forms[role], height, width)
    return rows


def at_hand() -> tuple[RuntimeName, ...]:
    """The runtimes that are installed and have their device here."""
    found = []
    for name in RUNTIMES:
        try:
            runtime_named(name)
        except ValueError:
            continue
        found.append(name)
    return tuple(found)


def _networks(run: Path) -> dict[str, Network]:
    paths = {role: run / f"{role}.safetensors" for role in ROLES}
    networks = {role: Network.load(path) for role, path in paths.items() if path.is_file()}
    if not networks:
        raise ValueError(f"{run} must be the folder of a run with a {', '.join(ROLES)}, and has none of them")
    return networks


def _size(run: Path, networks: Mapping[str, Network], height: int | None, width: int | None) -> tuple[int, int]:
    """As given, or else what a network's file says."""
    cards = [network.card for network in networks.values() if network.card]
    if height and width:
        return height, width
    if not cards:
        raise ValueError(f"the networks in {run} do not say the size of their images: give --height and --width")
    return height or cards[0].height, width or cards[0].width


def _forms(networks: Mapping[str, Network], height: int, width: int) -> dict[str, nn.Module]:
    """The networks as they are deployed; behind the student that is for crops, `PLAIN`."""
    forms: dict[str, nn.Module] = {}
    for role, network in networks.items():
        net = task_named(network.space.task).deployed(network.net).eval()
        if isinstance(net, FindsPersons):
            forms[role] = net
            continue
        forms[role] = deployed_form(net, torch.zeros(1, 3, height, width))
        if role == "student":
            forms[PLAIN] = net
    return forms


def _timed(
    forms: Mapping[str, nn.Module], names: tuple[RuntimeName, ...], threads: int, height: int, width: int, repeats: int
) -> dict[Case, Timing]:
    """All of them in turn, so that what slows the machine slows all."""
    measured: dict[Case, Timing] = {}
    in_batches = not any(isinstance(net, FindsPersons) for net in forms.values())
    for batch in BATCHES if in_batches else BATCHES[:1]:
        images = torch.randn(batch, 3, height, width)
        calls: dict[Case, Callable[[], object]] = {}
        for role, net in forms.items():
            for name in names:
                if role != PLAIN or name == ON:
                    calls[Case(role, name, batch, threads)] = runtime_named(name).prepare(net, images)
        timings = time_calls(list(calls.values()), NUM_WARMUP, repeats, batch)
        measured |= dict(zip(calls, timings, strict=True))
    return measured


def _row(case: Case, timing: Timing, measured: Mapping[Case, Timing]) -> dict[str, float]:
    first = next(of for other, of in measured.items() if (other.runtime, other.batch, other.threads) == _place(case))
    return {
        "ms": timing.median,
        "low": timing.low,
        "high": timing.high,
        "processor_ms": timing.processor,
        "images_per_second": 1000 / timing.median / case.threads,
        "ratio": timing.median / first.median,
    }


def _place(case: Case) -> tuple[str, int, int]:
    return case.runtime, case.batch, case.threads


def _sizes(net: nn.Module, height: int, width: int) -> dict[str, float]:
    content = as_onnx(net.finder() if isinstance(net, FindsPersons) else net, height, width)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(content)
        return {"file_mib": len(content) / MIB, "memory_mib": peak_memory_mib(path, (1, 3, height, width))}
