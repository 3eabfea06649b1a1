"""A stage of a run: the machine it computes on, its epochs and steps, and what survives a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from nas.errors import NonFiniteLoss, first_line
from nas.system.at_work import AtWork
from nas.system.peers import working_together
from nas.system.progress import tell, timed
from nas.system.weights import load_state, save_state
from nas.training.compiling import compile_network
from nas.training.gradients import gradients_of, mean_gradients
from nas.training.graphs import Graphs
from nas.training.machine import Machine
from nas.training.monitor import Monitor

if TYPE_CHECKING:
    from lightning.fabric import Fabric

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T")


ASK_EVERY = 64
"""Steps after which several processes ask the first whether it is time for a checkpoint."""
NO_DETERMINISM = "does not have a deterministic implementation"
"""What torch says of an operation without one."""


class Stage:
    """One stage (`teach`, `search`, `retrain`, `baseline`) in a run's folder.

    Its checkpoint carries `fingerprint`, which stands for all that decides its result; a checkpoint with another
    one is refused. `quiet`: it shows nothing, as it is part of a stage that does. `tells`: it says a line for each
    epoch, unless it is quiet. `restart`: the flags that start it again, for messages. `at_work` keeps other processes
    out as long as the stage is there, or until `release`. `checkpoint`: its file, if that is not in the folder.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        fingerprint: str,
        machine: Machine,
        fabric: Fabric | None = None,
        quiet: bool = False,
        tells: bool = True,
        restart: str = "--overwrite",
        at_work: AtWork | None = None,
        checkpoint: Path | None = None,
    ):
        self.folder = folder
        self.name = name
        self.checkpoint = checkpoint or folder / f"{name}.ckpt"
        self.fingerprint = fingerprint
        self.machine = machine
        self.quiet = quiet
        self.tells = tells
        self.restart = restart
        self.at_work = at_work
        self.fabric = fabric or machine.fabric()
        self.state = self._restore()
        self.seconds = self.state["seconds"] if self.state else 0.0

    def _restore(self) -> dict[str, Any] | None:
        if not self.checkpoint.exists():
            return None
        state = load_state(self.checkpoint)
        if not isinstance(state, dict) or not {"fingerprint", "seconds", "parts"} <= state.keys():
            raise ValueError(
                f"{self.checkpoint} must be a checkpoint of this stage, and is none: give --out another folder, or "
                f"{self.restart} to start this stage again"
            )
        if state["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"{self.checkpoint} belongs to another recipe, architecture, teacher or data set: give --out "
                f"another folder, or {self.restart} to start this stage again"
            )
        return state

    def release(self) -> None:
        """Lets other processes work at this stage."""
        if self.at_work:
            self.at_work.release()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside, the stage computes, deterministically if the machine is to. Raises PeerGone naming the stage when one
        of several processes is gone, and ValueError for what cannot be computed deterministically."""
        try:
            with working_together(f"{self.name} in {self.folder}"), self.machine.determinism():
                yield
        except RuntimeError as error:
            if NO_DETERMINISM not in str(error):
                raise
            raise ValueError(f"{first_line(error).partition(',')[0]}: leave --machine.deterministic out") from error

    def prepare(self, net: N) -> N:
        """The network on this machine, channels last."""
        return net.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub

    def autocast(self) -> AbstractContextManager:
        return self.fabric.autocast()

    def teacher_autocast(self) -> AbstractContextManager:
        device = self.fabric.device
        enabled = self.machine.teacher_precision_on(device) == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def graphs(self, why_not: str = "") -> Graphs:
        """What takes the stage's steps: as CUDA graphs where that is asked for, and a line says where it cannot be.
        `why_not`: what stands against it."""
        if self.fabric.device.type != "cuda":
            why_not = "there is no GPU"
        elif self.fabric.world_size > 1:
            why_not = "several processes wait for each other in a step"
        if self.machine.graphs and why_not:
            tell(f"{self.name}: no CUDA graphs, as {why_not}", self.folder)
        return Graphs(self.machine.graphs and not why_not, lambda line: tell(f"{self.name}: {line}", self.folder))

    def side_stream(self) -> torch.cuda.Stream | None:
        """A stream for what a GPU may compute beside the steps, where these are to be replayed; else None."""
        on = self.machine.graphs and self.fabric.device.type == "cuda"
        return torch.cuda.Stream(self.fabric.device) if on else None

    def compile(self, net: nn.Module) -> None:
        """Lets a network compute in compiled code in training mode, where that is asked for."""
        if self.machine.compile:
            compile_network(net, lambda line: tell(f"{self.name}: {line}", self.folder))

    def gradients(self, total: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
        """Those of a loss by each of `of`, averaged over the processes while the backward pass goes on."""
        return gradients_of(total, of) if self.fabric.world_size == 1 else mean_gradients(total, of)

    def mean(self, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients averaged over the processes, in one collective."""
        if self.fabric.world_size == 1:
            return gradients
        flat = cast(Tensor, self.fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean"))
        return [
            piece.view_as(g) for piece, g in zip(flat.split([g.numel() for g in gradients]), gradients, strict=True)
        ]

    def average_statistics(self, net: nn.Module) -> None:
        """Lets the processes have the same running statistics, the mean of what each has seen."""
        buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
        if self.fabric.world_size > 1 and buffers:
            for buffer, mean in zip(buffers, self.mean(buffers), strict=True):
                buffer.copy_(mean)

    def first_says(self, what: T) -> T:
        """What the first of the processes says."""
        return what if self.fabric.world_size == 1 else self.fabric.broadcast(what)

    def of_all(self, what: T) -> list[T]:
        """What each of the processes says, the first one's first."""
        said: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(said, what)
        return said

    def timed(self, what: str) -> AbstractContextManager:
        """Of several processes the first says that `what` begins, and how long it took."""
        return timed(what, self.folder) if self.fabric.is_global_zero else nullcontext()

    def loop(self, num_epochs: int, num_steps: int, parts: Mapping[str, Any]) -> Loop:
        """Epochs and steps from where the last checkpoint left `parts` (modules, optimisers)."""
        return Loop(self, num_epochs, num_steps, parts)


class Loop:
    """Counts epochs and steps, sums losses without waiting for the device, and saves after epochs and minutes."""

    def __init__(self, stage: Stage, num_epochs: int, num_steps: int, parts: Mapping[str, Any]) -> None:
        self.stage = stage
        self.num_epochs = num_epochs
        self.num_steps = num_steps
        self.parts = parts
        self.epoch = self.step = 0
        self.stopped = ""
        self.history: list[dict] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._monitor = Monitor(
            stage.folder, stage.name, first=stage.fabric.is_global_zero, quiet=stage.quiet, tells=stage.tells
        )
        if stage.state is not None:
            self._load(stage.state)
        self._check_begin()
        self._since = self._saved = time.monotonic()
        if self.epoch < num_epochs:
            self._monitor.start(self.epoch * num_steps + self.step, num_epochs * num_steps)

    def epochs(self) -> Iterator[int]:
        """The epochs that are still to do."""
        try:
            while self.epoch < self.num_epochs and not self.stopped:
                yield self.epoch
        finally:
            self._monitor.close()

    def steps(self, batches: Callable[..., Iterable]) -> Iterator:
        """What `batches(start)` gives, from the step after the last one saved; a lambda may bind the epoch besides."""
        for batch in batches(self.step):
            yield batch
            self.step += 1
            self._monitor.show(self.epoch * self.num_steps + self.step, self._shown)
            if self._is_due():
                self.save()

    def _is_due(self) -> bool:
        """Whether it is time for a checkpoint. Several processes save together, when it is time for the first: they ask
        it once in a while, as each time they wait for each other."""
        minutes = self.stage.machine.checkpoint_minutes
        due = time.monotonic() - self._saved > 60 * minutes
        if self.stage.fabric.world_size == 1 or not minutes:
            return due
        return self.step % ASK_EVERY == 0 and self.stage.first_says(due)

    @property
    def now(self) -> float:
        """Epochs done, steps of this one as a fraction."""
        return self.epoch + self.step / self.num_steps

    def add(self, losses: Mapping[str, Tensor], prefix: str = "loss") -> None:
        """Adds a step's losses to the epoch's means."""
        for name, value in losses.items():
            key = f"{prefix}.{name}"
            self.sums[key] = self.sums[key] + value.detach() if key in self.sums else value.detach().float()
            self.counts[key] = self.counts.get(key, 0) + 1

    def end_epoch(self, **record: object) -> None:
        """Ends the epoch: a line of history with the mean losses and `record`, and a checkpoint.

        Of several processes, the first decides for all whether the loop ends here.
        """
        self.stopped = self.stage.first_says(self.stopped)
        for part in self.parts.values():
            if isinstance(part, nn.Module):
                self.stage.average_statistics(part)
        line: dict[str, Any] = {"epoch": self.epoch}
        self._check_finite()
        for key, mean in self._means().items():
            prefix, _, name = key.partition(".")
            line.setdefault(prefix, {})[name] = mean
        if self.stopped:
            line["stopped"] = self.stopped
        self.history.append(line | record)
        self.epoch, self.step = self.epoch + 1, 0
        self.sums, self.counts = {}, {}
        self._write()
        done = self.epoch * self.num_steps
        self._monitor.show(done, self._shown)
        self._monitor.publish(self.history)
        self._monitor.tell(self.history[-1], self.epoch, self.num_epochs, done)

    def stop(self, why: str) -> None:
        """Ends the loop after this epoch."""
        self.stopped = why

    def limit(self, minutes: float | None) -> None:
        """Ends the loop after this epoch when the stage has taken so many minutes; None: never."""
        if minutes is not None and self.stage.seconds + time.monotonic() - self._since >= 60 * minutes:
            self.stop(f"it took {minutes:g} minutes")

    def save(self) -> None:
        """Writes the checkpoint; of several processes, all do so together. Raises NonFiniteLoss before anything bad is
        saved."""
        self._check_finite()
        self._write()

    def _write(self) -> None:
        self.stage.seconds += time.monotonic() - self._since
        self._since = time.monotonic()
        state = {
            "fingerprint": self.stage.fingerprint,
            "epoch": self.epoch,
            "step": self.step,
            "stopped": self.stopped,
            "seconds": self.stage.seconds,
            "history": self.history,
            "counts": self.counts,
            **self._own(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        if self.stage.fabric.world_size > 1:
            state["ranks"] = self.stage.of_all(self._own() | {"statistics": self._statistics()})
        if self.stage.fabric.is_global_zero:
            save_state(self.stage.checkpoint, state)
        self._saved = time.monotonic()

    def _own(self) -> dict[str, Any]:
        """What each of several processes has of its own: its sums of losses, and the states of its random numbers."""
        device = self.stage.fabric.device
        on_cuda = {"random_cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
        sums = {key: value.cpu() for key, value in self.sums.items()}
        return {"sums": sums, "random": torch.get_rng_state(), **on_cuda}

    def _statistics(self) -> dict[str, dict[str, Tensor]]:
        """The running statistics of each part, which are one's own until the end of the epoch."""
        return {
            name: {key: buffer.cpu() for key, buffer in part.named_buffers() if buffer.is_floating_point()}
            for name, part in self.parts.items()
            if isinstance(part, nn.Module)
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        for name in ("epoch", "step", "stopped", "history", "counts"):
            setattr(self, name, state[name])
        fabric = self.stage.fabric
        ranks = state.get("ranks", ())
        own = ranks[fabric.global_rank] if len(ranks) == fabric.world_size else state
        for name, kept in own.get("statistics", {}).items():
            self.parts[name].load_state_dict(kept, strict=False)
        self.sums = {key: value.to(fabric.device) for key, value in own["sums"].items()}
        torch.set_rng_state(own["random"])
        if fabric.device.type == "cuda" and "random_cuda" in own:
            torch.cuda.set_rng_state(own["random_cuda"], fabric.device)
        self._monitor.publish(self.history, again=True)  # a kill may have come between the checkpoint and this

    def _check_begin(self) -> None:
        """Raises ValueError where this process would go on from another checkpoint than the first one."""
        place = self.epoch, self.step
        if place != self.stage.first_says(place):
            raise ValueError(
                f"{self.stage.checkpoint} is another file for this process than for the first one: --out must be a "
                "folder that all nodes see"
            )

    def _means(self) -> dict[str, float]:
        """The losses' means so far."""
        return {key: value.item() / self.counts[key] for key, value in self.sums.items()}

    def _shown(self) -> Mapping[str, float]:
        """The numbers beside the bar: the losses so far and the last mAP, or what the last trial was worth."""
        last = self.history[-1] if self.history else {}
        measured = [line["mAP"] for line in self.history if "mAP" in line][-1:]
        means = self._means()
        if self.stage.fabric.world_size == 1 and (problem := bad_loss(means)):
            raise self._not_finite(problem)
        told = means or {key: last[key] for key in ("score", "best") if key in last}
        return told | dict.fromkeys(["mAP"] * len(measured), *measured)

    def _check_finite(self) -> None:
        """Raises NonFiniteLoss for losses that are not finite, or weights that a bad gradient spoiled.

        Of several processes all raise what the first finds: what is not finite in one of them reaches the weights of
        all with the same step.
        """
        is_first = self.stage.fabric.is_global_zero
        problem = self.stage.first_says((bad_loss(self._means()) or self._bad_weight()) if is_first else "")
        if problem:
            raise self._not_finite(problem)

    def _bad_weight(self) -> str:
        """Names one that is not finite. The device is waited for once."""
        weights = {
            f"{name}.{key}": tensor
            for name, part in self.parts.items()
            if isinstance(part, nn.Module)
            for key, tensor in part.state_dict().items()
            if tensor.is_floating_point() and tensor.numel()
        }
        if not weights:
            return ""
        largest = torch.stack([each.float() for each in torch._foreach_norm(list(weights.values()), math.inf)])
        if largest.isfinite().all():
            return ""
        bad = next(key for key, value in zip(weights, largest.tolist(), strict=True) if not math.isfinite(value))
        return f"{bad} is no longer finite"

    def _not_finite(self, what: str) -> NonFiniteLoss:
        return NonFiniteLoss(
            f"{self.stage.name}: {what} in epoch {self.epoch}, by step {self.step}; the last good "
            f"checkpoint is {self.stage.checkpoint}. Lower the learning rate, clip the gradient, or use "
            "--machine.precision 32"
        )


def bad_loss(means: Mapping[str, float]) -> str:
    """Names those that are not finite; empty where all are."""
    bad = [key for key, mean in means.items() if not math.isfinite(mean)]
    return f"{', '.join(bad)} became {means[bad[0]]}" if bad else ""
