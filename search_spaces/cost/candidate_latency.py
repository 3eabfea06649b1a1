"""What each candidate takes on this machine, measured once: a space's latency table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.cost.candidates import CandidateCosts
from search_spaces.cost.latency import device_name, latency, medians
from search_spaces.relaxed import MixedOp, Relaxed, Supernet
from search_spaces.space import SearchSpace

FORMAT = 1
NUM_FITTED = 4
NUM_CHECKED = 4
NUM_WARMUP = 5

Kind = tuple[str, str, torch.Size, torch.Size]  # option, module, shape of its input and of its output
Place = tuple[str, str, Kind]  # decision, option

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T", bound="CandidateLatency")


class OtherConditions(ValueError):
    """A latency table was measured on another device, with other threads, at another size or in another space."""


@dataclass(frozen=True, kw_only=True)
class CandidateLatency(CandidateCosts):
    """Milliseconds per image: alone in its batch, eval mode, 32 bits, channels last, this number of threads.

    Each candidate is timed by itself. What all networks share is what the whole networks of a few architectures take
    beyond their candidates, on average.
    """

    name = "latency_ms"
    unit = "ms per image"
    per_weight = 1.0

    device: torch.device
    error: float
    """Mean relative error of `predicted` against the whole networks of a few architectures that `fixed` is not from."""

    @classmethod
    @torch.inference_mode()
    def measured(cls, space: SearchSpace, height: int, width: int, device: torch.device, num_rounds: int = 50) -> Self:
        """Takes seconds to a minute. Torch's random numbers go on as if nothing had been."""
        rng = np.random.default_rng(0)
        architectures = [space.sample(rng) for _ in range(NUM_FITTED + NUM_CHECKED)]
        with torch.random.fork_rng(devices=[]):
            supernet = _ready(Supernet.of(space, AsInStudents(folded=False)), device)
            students = [_ready(space.student(architecture), device) for architecture in architectures]
            image = torch.randn(1, 3, height, width).to(device)
        calls, places = _candidates(supernet, image)
        times = medians(
            [*calls.values(), *(partial(student, image) for student in students)], device, NUM_WARMUP, num_rounds
        )
        ms = dict(zip(calls, times, strict=False))
        of = {name: dict.fromkeys(options, 0.0) for name, options in supernet.options.items()}
        for name, option, kind in places:
            of[name][option] += ms[kind]
        table = cls(
            space=space, height=height, width=width, nodes=supernet.nodes, of=of, fixed=0.0, device=device, error=0.0
        )
        return fitted(table, architectures, times[len(calls) :])

    def real(self, architecture: Architecture) -> float:
        with torch.random.fork_rng(devices=[]):
            student = _ready(self.space.student(architecture), self.device)
            return latency(student, self.height, self.width, device=self.device)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **conditions(self.space, self.height, self.width, self.device),
            "error": self.error,
            "fixed_ms": self.fixed,
            "ms": {name: dict(row) for name, row in self.of.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping, space: SearchSpace, height: int, width: int, device: torch.device) -> Self:
        """Reads what `to_dict` wrote. Raises OtherConditions naming what is different here, ValueError for no table."""
        now = conditions(space, height, width, device)
        try:
            was = {name: data[name] for name in now}
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
            device=device,
            error=error,
        )


def conditions(space: SearchSpace, height: int, width: int, device: torch.device) -> dict[str, object]:
    """What the times hold for."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "height": height,
        "width": width,
        "space": repr(space),
    }


class AsInStudents(Relaxed):
    """Keeps all candidates, built as students have them: a pool without a norm."""

    affine = True


def fitted(table: T, architectures: Sequence[Architecture], whole: Sequence[float]) -> T:
    """The table with what the first `NUM_FITTED` of the architectures' networks share, and its error on the others."""
    beyond = [ms - table.predicted(architecture) for architecture, ms in zip(architectures, whole, strict=True)]
    table = replace(table, fixed=table.fixed + fmean(beyond[:NUM_FITTED]))
    others = zip(architectures[NUM_FITTED:], whole[NUM_FITTED:], strict=True)
    return replace(table, error=fmean(abs(table.predicted(architecture) / ms - 1) for architecture, ms in others))


def _ready(net: N, device: torch.device) -> N:
    return net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload] # torch's stub


def _candidates(supernet: Supernet, image: Tensor) -> tuple[dict[Kind, Callable[[], object]], list[Place]]:
    """A call for each kind of candidate, on what reaches it in the supernet, and everywhere that a candidate stands."""
    calls: dict[Kind, Callable[[], object]] = {}
    places: list[Place] = []

    def note(name: str, option: str, op: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        kind = (option, repr(op), inputs[0].shape, output.shape)
        calls.setdefault(kind, partial(op, inputs[0]))
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
    return calls, places
