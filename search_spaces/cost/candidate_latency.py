"""What each candidate takes in a runtime on this machine, measured once: a space's latency table."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.cost.candidates import CandidateCosts
from search_spaces.cost.latency import Deployment, Runtime, latency, time_calls
from search_spaces.deploy import deploy
from search_spaces.relaxed import MixedOp, Relaxed, Supernet
from search_spaces.space import SearchSpace

FORMAT = 2
NUM_FITTED = 10
NUM_CHECKED = 10
NUM_WARMUP = 5
NUM_COPIES = 4
"""Of a candidate in the network that it is timed in."""
MOST_CORRECTED = 2.0
"""Factor by which whole networks may correct the times of candidates, up or down."""

Kind = tuple[str, str, torch.Size, torch.Size]  # option, module, shape of its input and of its output
Place = tuple[str, str, Kind]  # decision, option

T = TypeVar("T", bound="CandidateLatency")


class OtherConditions(ValueError):
    """A latency table was measured in another runtime, on another device, with other threads, at another size or in
    another space."""


@dataclass(frozen=True, kw_only=True)
class CandidateLatency(CandidateCosts):
    """Milliseconds per image, alone in its batch, of a runtime with as many threads as torch has now.

    Each candidate is timed inside the runtime, between other layers, so that the runtime merges what it would merge in
    a student. What all networks share, and a factor for all candidates, fit the whole networks of a few architectures.
    """

    name = "latency_ms"
    unit = "ms per image"
    per_weight = 1.0

    deployment: Deployment
    error: float
    """Mean relative error of `predicted` for the whole networks of architectures that nothing is fitted to."""

    @classmethod
    def measured(
        cls, space: SearchSpace, height: int, width: int, deployment: Deployment, num_rounds: int = 50
    ) -> Self:
        """Takes seconds to minutes. Torch's random numbers go on as if nothing had been.

        Raises ValueError as `Runtime.prepare`.
        """
        rng, runtime = np.random.default_rng(0), deployment.runtime
        architectures = [space.sample(rng) for _ in range(NUM_FITTED + NUM_CHECKED)]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            supernet = Supernet.of(space, AsInStudents(folded=False)).eval()
            image = torch.randn(1, 3, height, width)
            kinds, places = _candidates(supernet, image)
            ms = {kind: _alone(*of_kind, runtime, num_rounds) for kind, of_kind in kinds.items()}
            students = [deployment.part(space.student(architecture)) for architecture in architectures]
            calls = [runtime.prepare(deploy(student, image), image) for student in students]
            whole = [timing.median for timing in time_calls(calls, NUM_WARMUP, num_rounds)]
        of = {name: dict.fromkeys(options, 0.0) for name, options in supernet.options.items()}
        for name, option, kind in places:
            of[name][option] += ms[kind]
        table = cls(
            space=space,
            height=height,
            width=width,
            nodes=supernet.nodes,
            of=of,
            fixed=0.0,
            deployment=deployment,
            error=0.0,
        )
        return fitted(table, architectures, whole)

    def real(self, architecture: Architecture) -> float:
        with torch.random.fork_rng(devices=[]):
            student = self.deployment.part(self.space.student(architecture))
        return latency(student, self.height, self.width, self.deployment.runtime).median

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **conditions(self.space, self.height, self.width, self.deployment.runtime),
            "error": self.error,
            "fixed_ms": self.fixed,
            "ms": {name: dict(row) for name, row in self.of.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping, space: SearchSpace, height: int, width: int, deployment: Deployment) -> Self:
        """Reads what `to_dict` wrote. Raises OtherConditions naming what is different here, ValueError for no table."""
        now = conditions(space, height, width, deployment.runtime)
        try:
            was = {name: data.get(name, "unknown") for name in now}
            of = {name: {option: float(ms) for option, ms in row.items()} for name, row in data["ms"].items()}
            fixed, error = float(data["fixed_ms"]), float(data["error"])
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"it is no latency table ({problem!r})") from None
        if not all(map(math.isfinite, (fixed, error, *(ms for row in of.values() for ms in row.values())))):
            raise ValueError("a latency table must hold finite numbers")
        with torch.device("meta"):
            supernet = Supernet.of(space)
        if {name: tuple(row) for name, row in of.items()} != supernet.options:
            raise OtherConditions("other decisions")
        different = [f"{name} {was[name]}, here {now[name]}" for name in now if was[name] != now[name]]
        if different:
            raise OtherConditions("; ".join(different))
        return cls(
            space=space,
            height=height,
            width=width,
            nodes=supernet.nodes,
            of=of,
            fixed=fixed,
            deployment=deployment,
            error=error,
        )


def conditions(space: SearchSpace, height: int, width: int, runtime: Runtime) -> dict[str, object]:
    """What the times hold for."""
    return {**runtime.conditions().to_dict(), "height": height, "width": width, "space": repr(space)}


class AsInStudents(Relaxed):
    """Keeps all candidates, built as students have them: a pool without a norm."""

    affine = True


class Copies(nn.Module):
    """The sum of what a few 1x1 convolutions of a map give, each behind a copy of `op` where there is one."""

    def __init__(self, op: nn.Module | None, channels: int) -> None:
        super().__init__()
        self.before = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(NUM_COPIES))
        self.ops = nn.ModuleList(copy.deepcopy(op) for _ in range(NUM_COPIES)) if op is not None else None
        for weights in self.parameters():
            nn.init.normal_(weights, std=0.1)  # what is equal would be computed once

    def forward(self, x: Tensor) -> Tensor:
        maps = [before(x) for before in self.before]
        if self.ops is not None:
            maps = [op(x) for op, x in zip(self.ops, maps, strict=True)]
        return reduce(add, maps).mean(dim=(2, 3))


def fitted(table: T, architectures: Sequence[Architecture], whole: Sequence[float]) -> T:
    """The table with the line through the first `NUM_FITTED` of the architectures' networks, by least squares, and its
    error on the others."""
    sums, real = (
        np.array([table.predicted(architecture) - table.fixed for architecture in architectures]),
        np.array(whole),
    )
    x, y = sums[:NUM_FITTED], real[:NUM_FITTED]
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread)) if np.ptp(x) > 1e-6 * abs(x).max() else 1.0
    slope = min(max(slope, 1 / MOST_CORRECTED), MOST_CORRECTED)
    fixed = float(y.mean() - slope * x.mean())
    error = float(np.mean(np.abs((fixed + slope * sums) / real - 1)[NUM_FITTED:]))
    of = {name: {option: slope * ms for option, ms in row.items()} for name, row in table.of.items()}
    return replace(table, of=of, fixed=fixed, error=error)


def _alone(op: nn.Module, x: Tensor, runtime: Runtime, num_rounds: int) -> float:
    """What `op` takes for `x`: the difference that it makes to `Copies`."""
    with_op, without = (runtime.prepare(deploy(Copies(each, x.shape[1]).eval(), x), x) for each in (op, None))
    timed, base = time_calls([with_op, without], NUM_WARMUP, num_rounds)
    return max(timed.median - base.median, 0.0) / NUM_COPIES


def _candidates(supernet: Supernet, image: Tensor) -> tuple[dict[Kind, tuple[nn.Module, Tensor]], list[Place]]:
    """Each kind of candidate with what reaches it in the supernet, and everywhere that a candidate stands."""
    kinds: dict[Kind, tuple[nn.Module, Tensor]] = {}
    places: list[Place] = []

    def note(name: str, option: str, op: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        kind = (option, repr(op), inputs[0].shape, output.shape)
        kinds.setdefault(kind, (op, inputs[0]))
        places.append((name, option, kind))

    names = list(supernet.options)
    hooks = [
        op.register_forward_hook(partial(note, names[mixed.row], option))
        for mixed in supernet.modules()
        if isinstance(mixed, MixedOp)
        for option, op in zip(supernet.options[names[mixed.row]], mixed.ops, strict=False)
    ]
    supernet(image)
    for hook in hooks:
        hook.remove()
    return kinds, places
