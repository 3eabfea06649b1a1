"""Training one network: the loop that the teacher, the student and its baseline share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from nas.losses.base import Loss, Losses
from nas.training.graphs import held
from nas.training.optimisers import current_rate, parameters_of, place_numbers, step
from nas.training.settings import Training
from nas.training.stage import Loop, Stage
from teachers.teacher import BatchTeacher, with_teacher

PruneCallback = Callable[[int, float], bool]
"""Told the epochs that a trial has trained and its value by then; whether it is to stop there."""

N = TypeVar("N", bound=nn.Module)


class Batches(Protocol):
    """The batches of an epoch, each a pure function of seed, epoch and step, so that a run can go on at any step."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch` from step `start` on. Each has `images`, and `teacher`, which is None at first."""
        ...


def train(
    net: N,
    batches: Batches,
    loss: Loss,
    training: Training,
    stage: Stage,
    teacher: BatchTeacher | None = None,
    validate: Callable[[N], dict[str, float]] | None = None,
    report: PruneCallback | None = None,
) -> Loop:
    """Trains `net` to the end of `training`, from the stage's checkpoint if there is one.

    `validate` gives shares by their names in the history, `mAP` among them. `report` is told this of each validation
    and may end the training. What the loss leaves out (adapters without a
    teacher) has a gradient of 0.
    """
    net = stage.prepare(net)
    optimiser = training.optimiser.build(learning(net))
    loop = stage.loop(training.epochs, len(batches), {"net": net, "optimiser": optimiser})
    stage.compile(net)
    graphs = stage.graphs()
    place_numbers(optimiser, graphs.on)
    for epoch in loop.epochs():
        train_mode(net)
        temperature = loss.temperature_at(epoch, training.epochs) if teacher else None
        loss_now = loss.at(epoch, training.epochs)
        asked = teacher if loss_now.listens(temperature) else None
        take = partial(training_step, net, optimiser, loss_now, training.clip, stage)
        told: Any = (
            held(temperature, stage.fabric.device) if graphs.on and loss_now.takes_tensors else temperature or 0.0
        )
        for batch in loop.steps(lambda start, epoch=epoch, asked=asked: with_teacher(batches(epoch, start), asked)):
            training.optimiser.set_rate(optimiser, loop.now, training.epochs)
            loop.add(graphs.run("network", take, (batch, told), loss_now))
        found: dict[str, float] = {}
        if validate and training.validate_every and (epoch + 1) % training.validate_every == 0:
            found = validate(net)
            if report and report(epoch + 1, found["mAP"]):
                loop.stop("pruned")
        loop.end_epoch(temperature=temperature, lr=current_rate(optimiser), **found)
    return loop


def training_step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    clip: float | None,
    stage: Stage,
    given: tuple[Any, Any],
) -> Losses:
    """One step of `net` on a batch at a temperature, and the losses before it. The host waits for nothing."""
    batch, temperature = given
    with stage.autocast():
        losses = loss(net(batch.images), batch, temperature)
    step(optimiser, stage.gradients(losses["total"], parameters_of(optimiser)), clip)
    return losses


def learning(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained: all that are not frozen."""
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def train_mode(net: nn.Module) -> None:
    """Training mode, but for parts of which all is frozen: their running statistics stay, too."""
    net.train()
    for part in net.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()
