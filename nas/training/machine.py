"""Where a run computes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch

from nas.system.processes import end_with_launcher
from search_spaces.ranges import NonNegative, Processes, ProcessesOrZero, Ranged, RuntimeName

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from search_spaces.cost.latency import Runtime

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"32": "32-true", "bf16": "bf16-mixed"}
"""What Fabric calls them."""


@dataclass(frozen=True, kw_only=True)
class Machine(Ranged):
    """What a run computes on. Apart from rounding, none of it changes the results."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto: a GPU if there is one, otherwise the CPU."""
    devices: Processes = 1
    """Processes that share the work on each batch, each with its own part of the data."""
    precision: Literal["32", "bf16"] = "32"
    """Precision of the computation; bf16: autocast, and weights stay in 32 bits."""
    teacher_precision: Literal["auto", "32", "bf16"] = "auto"
    """Precision of the teacher's forward pass, while others learn from it; auto: the run's on a GPU, 32 on the CPU."""
    threads: ProcessesOrZero = 0
    """CPU threads; 0: torch's choice. The same number gives the same results."""
    graphs: bool = False
    """Replay the steps of searches and trainings as CUDA graphs, one launch each. Not yet tried on a GPU."""
    checkpoint_minutes: NonNegative = 5.0
    """Minutes between checkpoints within an epoch, from which a stopped run resumes; each epoch ends with one, too.
    0: after every step."""

    @cache  # noqa: B019 - a process has few machines, and keeps them to its end
    def fabric(self) -> Fabric:
        """One for each process. Raises ValueError when CUDA is asked for and absent."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "--machine.device cuda was asked for, but torch sees no CUDA device: "
                "use --machine.device cpu, or install a CUDA build of torch and a driver"
            )
        if self.threads:
            torch.set_num_threads(self.threads)
        from lightning.fabric import Fabric  # two seconds to import: not for a command that computes nothing

        logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
        precision = PRECISIONS[self.precision]
        strategy = "ddp" if self.devices > 1 else "auto"
        fabric = Fabric(accelerator=self.device, devices=self.devices, precision=precision, strategy=strategy)
        if self.devices > 1:
            end_with_launcher()
            fabric.launch()
        return fabric

    def teacher_precision_on(self, device: torch.device) -> Literal["32", "bf16"]:
        """That of the teacher where the run computes on `device`."""
        if self.teacher_precision != "auto":
            return self.teacher_precision
        return self.precision if device.type == "cuda" else "32"

    def runtime(self, name: RuntimeName) -> Runtime:
        """What times networks; torch's runtimes on this device, in this precision. Raises ValueError where it is not
        there."""
        from nas.models.runtimes import runtime_named  # imports ONNX

        device, precision = self.fabric().device, {"32": "fp32", "bf16": "bf16"}[self.precision]
        return runtime_named(name, device, precision)
