"""How long a network takes for an image, and where: the runtime, the device, its threads and the precision."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.deploy import deploy

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds per image over the passes that count."""

    median: float
    low: float
    """Of the fastest tenth the slowest."""
    high: float
    """Of the slowest tenth the fastest."""
    processor: float
    """Median of the processor's clock, all threads of this process together; more than `median` where several work, and
    less where the device is another or the process had to wait."""

    @classmethod
    def of(cls, wall: np.ndarray, processor: np.ndarray, num_images: int) -> Timing:
        """From the seconds of passes of so many images each."""
        low, median, high = 1000 * np.percentile(wall, (10, 50, 90)) / num_images
        used = 1000 * float(np.median(processor)) / num_images
        return cls(median=float(median), low=float(low), high=float(high), processor=used)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a time holds for, beside the size of the images and of the batch."""

    runtime: str
    """With its version."""
    device: str
    threads: int
    precision: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Runtime(Protocol):
    """What runs networks when they are deployed."""

    def conditions(self) -> Conditions: ...

    def prepare(self, net: nn.Module, images: Tensor) -> Callable[[], object]:
        """A call that runs a copy of `net`, in eval mode, on `images` once and returns when it is done.

        `net` is as `deploy` leaves it. Raises ValueError for a network that the runtime cannot run, and where the
        runtime is not there.
        """
        ...


def _whole(net: nn.Module) -> nn.Module:
    return net


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where networks run in the end, and what of them does."""

    runtime: Runtime
    part: Callable[[nn.Module], nn.Module] = _whole
    """Of a network as it is trained what runs; by default all of it."""


@dataclass(frozen=True, kw_only=True)
class Eager:
    """PyTorch as networks are trained in it, operation by operation: on a CPU small networks wait for Python there."""

    device: torch.device = CPU
    precision: str = "fp32"
    """fp32 or bf16, by autocast."""
    compiled: bool = False
    """Whether torch.compile makes fewer and larger operations of them first."""

    def conditions(self) -> Conditions:
        return Conditions(
            runtime=f"torch {torch.__version__}, {'compiled' if self.compiled else 'eager'}",
            device=device_name(self.device),
            threads=torch.get_num_threads(),
            precision=self.precision,
        )

    def prepare(self, net: nn.Module, images: Tensor) -> Callable[[], object]:
        moved: nn.Module = copy.deepcopy(net).to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload] # torch's stub
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        run = torch.compile(moved) if self.compiled else moved

        def call() -> object:
            with torch.inference_mode(), self._autocast():
                answer = run(images)
            if self.device.type != "cpu":
                torch.accelerator.synchronize(self.device)
            return answer

        return call

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()


def latency(
    net: nn.Module,
    height: int,
    width: int,
    runtime: Runtime,
    batch_size: int = 1,
    num_warmup: int = 10,
    num_runs: int = 50,
) -> Timing:
    """Milliseconds per image of the deployed form of `net`, over `num_runs` passes of `batch_size` random images.

    Passes before these, `num_warmup`, are not counted. Reading and transferring images is not counted. Raises
    ValueError for counts out of range, and as `Runtime.prepare`.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("num_warmup", num_warmup, 0), ("num_runs", num_runs, 1)):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
    with torch.random.fork_rng(devices=[]):
        images = torch.randn(batch_size, 3, height, width)
    call = runtime.prepare(deploy(net, images[:1]), images)
    return time_calls([call], num_warmup, num_runs, batch_size)[0]


def time_calls(
    calls: Sequence[Callable[[], object]], num_warmup: int, num_rounds: int, num_images: int = 1
) -> list[Timing]:
    """What each call takes, over `num_rounds` rounds behind `num_warmup` that are not counted.

    In a round each call has its turn once, so that what slows the machine for a while slows all of them. Where there
    are several, it is made twice and the second time counts: the first brings its weights back into the caches.
    """
    again = len(calls) > 1
    rounds = [[_seconds(call, again) for call in calls] for _ in range(num_warmup + num_rounds)]
    seconds = np.array(rounds[num_warmup:])
    return [Timing.of(seconds[:, i, 0], seconds[:, i, 1], num_images) for i in range(len(calls))]


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """Torch, and with it each runtime, has so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's model with the number of its cores."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The model of the machine's processor, and how many there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]} x {len(models)}" if models else platform.processor() or "unknown"


def _seconds(call: Callable[[], object], again: bool) -> tuple[float, float]:
    """By the wall clock and by the processor's."""
    if again:
        call()
    wall, used = perf_counter(), process_time()
    call()
    return perf_counter() - wall, process_time() - used
