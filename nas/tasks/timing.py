"""What a network takes for an image, as a row of a table has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from warnings import warn

from torch import nn

from search_spaces.cost.latency import Runtime, latency

Batches = Sequence[tuple[int, int, int]]
"""Batch sizes, and how many passes of each warm up and count."""


def timed(net: nn.Module, name: str, height: int, width: int, runtime: Runtime, batches: Batches) -> dict[str, Any]:
    """`ms_per_image_N` for each batch size N: the median; and `timing`, what these hold for, with their spread.

    A network that the runtime cannot run has no times, which a warning says.
    """
    try:
        timings = {
            size: latency(net, height, width, runtime, size, num_warmup, num_runs)
            for size, num_warmup, num_runs in batches
        }
    except ValueError as error:
        warn(f"{name} has no milliseconds: {error}. --evaluation.runtime torch times every network", stacklevel=2)
        return {}
    conditions = runtime.conditions().to_dict() | {"height": height, "width": width}
    spread = {str(size): asdict(timing) for size, timing in timings.items()}
    return {f"ms_per_image_{size}": timing.median for size, timing in timings.items()} | {
        "timing": conditions | {"batches": spread}
    }
