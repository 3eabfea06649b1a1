"""Training one network: the loop that the teacher, the student and its rival share."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from nas.data.augment import Augment
from nas.data.base import ReIDData, Split
from nas.data.batches import Batches
from nas.data.cache import ImageCache
from nas.data.sampling import Sampling
from nas.losses import Loss
from nas.objective import heard
from nas.optimisers import current_rate, step
from nas.recipe import Images, Training
from nas.stage import Loop, Stage
from nas.strategies.base import Report
from teachers.teacher import Teacher


def cached(split: Split, images: Images) -> ImageCache:
    """The split's images at their size, in memory as far as they fit; a bar on a terminal while they are decoded."""
    num_processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("decoding images")
        return ImageCache(
            split,
            images.height,
            images.width,
            max_gib=images.max_gib,
            num_threads=images.workers,
            num_processes=num_processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def batches_of(
    data: ReIDData,
    cache: ImageCache,
    sampling: Sampling,
    augment: Augment,
    seed: int,
    stage: Stage,
    indices: np.ndarray | None = None,
) -> Batches:
    """The training batches of this process, with the data set's label noise."""
    fabric = stage.fabric
    return Batches(
        cache,
        data.train_labels,
        sampling,
        augment,
        seed,
        fabric.device,
        indices=indices,
        label_noise=data.label_noise,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )


def train(
    net: nn.Module,
    batches: Batches,
    loss: Loss,
    training: Training,
    stage: Stage,
    teacher: Teacher | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    report: Report | None = None,
) -> Loop:
    """Trains `net` to the end of `training`, from the stage's checkpoint if there is one.

    `report` is told each validation's mAP and may end the training. What the loss leaves out (adapters without a
    teacher) has a gradient of 0.
    """
    net = stage.prepare(net)
    parameters = list(net.parameters())
    optimiser = training.optimiser.build(parameters)
    loop = stage.loop(training.epochs, len(batches), {"net": net, "optimiser": optimiser})
    for epoch in loop.epochs():
        net.train()
        temperature = loss.temperature.at(epoch, training.epochs) if teacher else None
        loss_now = loss.at(epoch, training.epochs)
        for batch in loop.steps(lambda start, epoch=epoch: heard(batches(epoch, start), teacher)):
            training.optimiser.set_rate(optimiser, loop.now, training.epochs)
            with stage.autocast():
                losses = loss_now(net(batch.images), batch, temperature or 0.0)
            gradients = torch.autograd.grad(losses["total"], parameters, materialize_grads=True)
            step(optimiser, stage.mean(list(gradients)), training.clip)
            loop.add(losses)
        found = {}
        if validate and training.validate_every and (epoch + 1) % training.validate_every == 0:
            found["mAP"] = validate(net)
            if report and report(epoch + 1, found["mAP"]):
                loop.stop("pruned")
        loop.end_epoch(temperature=temperature, lr=current_rate(optimiser), **found)
    return loop
