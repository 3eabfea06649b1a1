"""Where a run computes."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Literal, Self

import torch

from nas.system.launch import ON_NODE, check_launch, is_first, launch
from nas.system.peers import end_with_children, end_with_others
from nas.system.processes import end_with_launcher
from nas.training.compiling import check_compiler
from search_spaces.ranges import NonNegative, Positive, Processes, ProcessesOrZero, Ranged, RuntimeName

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import ClusterEnvironment

    from search_spaces.cost.latency import Runtime

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"32": "32-true", "bf16": "bf16-mixed"}
"""What Fabric calls them."""
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""By which cuBLAS gives the same bits each time."""


@dataclass(frozen=True, kw_only=True)
class Machine(Ranged):
    """What a run computes on. Apart from rounding, the number of processes alone changes the results: each step takes a
    batch for each of them."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto: a GPU if there is one, otherwise the CPU."""
    devices: Processes = 1
    """Processes that share the work of a step on each node, each with a batch of its own."""
    num_nodes: Processes = 1
    """Machines that share the work of a step, each with `devices` processes; they need a common file system."""
    wait_minutes: Positive = 30.0
    """Minutes that each of several processes waits for the others before it ends."""
    precision: Literal["32", "bf16"] = "32"
    """Precision of the computation; bf16: autocast, and weights stay in 32 bits."""
    teacher_precision: Literal["auto", "32", "bf16"] = "auto"
    """Precision of the teacher's forward pass, while others learn from it; auto: the run's on a GPU, 32 on the CPU."""
    threads: ProcessesOrZero = 0
    """CPU threads; 0: torch's choice. On a CPU, the same number gives the same results."""
    graphs: bool = False
    """Replay the steps of searches and trainings as CUDA graphs, one launch each. Not yet tried on a GPU."""
    compile: bool = False
    """Train networks in code that torch.compile makes; supernets are not compiled."""
    checkpoint_minutes: NonNegative = 5.0
    """Minutes between checkpoints within an epoch, from which a stopped run resumes; each epoch ends with one, too.
    0: after every step."""
    deterministic: bool = False
    """Whether a GPU uses only algorithms that always give the same bits, which are slower."""

    @property
    def num_processes(self) -> int:
        """That share the work of a step."""
        return self.devices * self.num_nodes

    @property
    def is_first(self) -> bool:
        """Whether this is the first of the processes that share the work, or the only one."""
        return self.num_processes == 1 or is_first()

    def alone(self) -> Self:
        """The same with one process, for what is not shared."""
        return replace(self, devices=1, num_nodes=1)

    def check_alone(self) -> None:
        """Raises ValueError where a trial is to be trained by several processes."""
        if self.num_processes > 1:
            raise ValueError(
                "a trial trains on one device: leave --machine.devices and --machine.num-nodes out, and start more "
                "workers: with --workers, with torchrun or srun, or by giving the same command once for each device, "
                "with CUDA_VISIBLE_DEVICES"
            )

    def check(self) -> None:
        """Raises ValueError where the processes or devices that this asks for are not there."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "--machine.device cuda was asked for, but torch sees no CUDA device: "
                "use --machine.device cpu, or install a CUDA build of torch and a driver"
            )
        if self.num_processes > 1:
            check_launch(self.devices, self.num_nodes)
        if self.compile:
            check_compiler()
        if self._on_cuda and self.devices > torch.cuda.device_count():
            raise ValueError(
                f"--machine.devices {self.devices} needs as many GPUs on each node, and torch sees "
                f"{torch.cuda.device_count()} here: give fewer, or --machine.device cpu"
            )

    @cache  # noqa: B019 - a process has few machines, and keeps them to its end
    def fabric(self) -> Fabric:
        """One for each process. Raises ValueError as `check` does."""
        self.check()
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.deterministic:
            os.environ.setdefault(*CUBLAS_WORKSPACE)  # which CUDA reads as it begins
        from lightning.fabric import Fabric  # two seconds to import: not for a command that computes nothing
        from lightning.fabric.strategies import DDPStrategy

        logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
        together = DDPStrategy(timeout=timedelta(minutes=self.wait_minutes)) if self.num_processes > 1 else "auto"
        fabric = Fabric(
            accelerator=self.device,
            devices=self._devices(),
            num_nodes=self.num_nodes,
            precision=PRECISIONS[self.precision],
            strategy=together,
            plugins=[self._environment()],
        )
        if self.num_processes > 1:
            os.environ.setdefault(ON_NODE, str(self.devices))
            end_with_launcher()
            fabric.launch()
            end_with_children(fabric.strategy.launcher)
            if torch.distributed.get_backend() == "nccl":
                end_with_others(fabric.global_rank, fabric.world_size)
            else:  # Lightning does it for NCCL; gloo's threads can abort a process that ends with them
                atexit.register(torch.distributed.destroy_process_group)
        return fabric

    def teacher_precision_on(self, device: torch.device) -> Literal["32", "bf16"]:
        """That of the teacher where the run computes on `device`."""
        if self.teacher_precision != "auto":
            return self.teacher_precision
        return self.precision if device.type == "cuda" else "32"

    @contextmanager
    def determinism(self) -> Iterator[None]:
        """Inside, algorithms are those that `deterministic` says; afterwards they are what they were."""
        if not self.deterministic:
            yield
            return
        before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before[0])
            torch.backends.cudnn.benchmark = before[1]

    @property
    def _on_cuda(self) -> bool:
        return self.device != "cpu" and torch.cuda.is_available()

    def _devices(self) -> int | list[int]:
        """How many, or which one: of processes that work each for itself, `torchrun` and `srun` start one for each
        GPU."""
        started = launch()
        if started and self.num_processes == 1 and self._on_cuda:
            return [started.local_rank % torch.cuda.device_count()]
        return self.devices

    def _environment(self) -> ClusterEnvironment:
        """Where Lightning learns of the processes that share the work: one alone is not told of any, whoever started
        it."""
        from lightning.fabric.plugins import environments

        started = launch() if self.num_processes > 1 else None
        if started is None:
            return environments.LightningEnvironment()
        if started.by == "torchrun":
            return environments.TorchElasticEnvironment()
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(self.devices))  # which Lightning wants to see, and srun
        return environments.SLURMEnvironment()  # sets only where it was asked for

    def runtime(self, name: RuntimeName) -> Runtime:
        """What times networks; torch's runtimes on this device, in this precision. Raises ValueError where it is not
        there."""
        from nas.models.runtimes import runtime_named  # imports ONNX

        device, precision = self.fabric().device, {"32": "fp32", "bf16": "bf16"}[self.precision]
        return runtime_named(name, device, precision)
