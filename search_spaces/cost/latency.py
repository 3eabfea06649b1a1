"""How long a network takes for an image on this machine."""

import copy
import platform
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import nn


@torch.inference_mode()
def latency(
    net: nn.Module,
    height: int,
    width: int,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    num_warmup: int = 10,
    num_runs: int = 50,
) -> float:
    """Milliseconds per image: median over `num_runs` forward passes of `batch_size` random images, by the wall clock.

    A copy of `net` runs on `device` in eval mode with the caller's precision and number of threads, after `num_warmup`
    passes that are not counted; each pass ends when the device is done. Reading and transferring images is not
    counted. Raises ValueError for counts out of range.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("num_warmup", num_warmup, 0), ("num_runs", num_runs, 1)):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
    device = torch.device(device)
    copied = copy.deepcopy(net).to(device).eval()
    images = torch.randn(batch_size, 3, height, width, device=device)
    return medians([partial(copied, images)], device, num_warmup, num_runs)[0] / batch_size


def medians(
    calls: Sequence[Callable[[], object]], device: torch.device, num_warmup: int, num_rounds: int
) -> list[float]:
    """Milliseconds of each call: the median over `num_rounds` rounds, behind `num_warmup` that are not counted.

    In a round each call has its turn once, so that what slows the machine for a while slows all of them.
    """
    rounds = [[_seconds(call, device) for call in calls] for _ in range(num_warmup + num_rounds)]
    return [1000 * statistics.median(times) for times in zip(*rounds[num_warmup:], strict=True)]


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's model with the number of its cores."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The model of the machine's processor, and how many there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]} x {len(models)}" if models else platform.processor() or "unknown"


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = perf_counter()
    call()
    _wait(device)
    return perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
