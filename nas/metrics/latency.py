"""How long a network takes for an image."""

import copy
import statistics
from collections.abc import Callable
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
    for _ in range(num_warmup):
        _seconds(copied, images)
    return 1000 * statistics.median(_seconds(copied, images) for _ in range(num_runs)) / batch_size


def _seconds(net: Callable, images: torch.Tensor) -> float:
    _wait(images.device)
    start = perf_counter()
    net(images)
    _wait(images.device)
    return perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
