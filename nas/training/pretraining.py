"""Training a backbone to classify images, before it is trained for re-identification."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nas.data.class_folders import ClassBatches, ClassFolders, centre_batches, hits
from nas.data.images import NUM_THREADS
from nas.losses.base import Losses
from nas.system.config import WITHOUT_EFFECT
from nas.training.optimisers import SGD, CosineLR, Optimiser, current_rate
from nas.training.stage import Stage
from nas.training.train import training_step
from search_spaces.ranges import Count, Pixels, Processes, Ranged, ShareBelowOne


@dataclass(frozen=True, kw_only=True)
class Pretraining(Ranged):
    """How a backbone is pretrained: torchvision's reference training of ResNet-50 (a batch of 256 at the rate 0.1) with
    what its later one added: cosine, warm-up, smoothed labels, averaged weights, and no decay of normalisations.

    Random crops and mirroring are the only augmentation. Deviations: biases do not decay either, and the weights are
    averaged after every step.
    """

    data: Path | None = None
    """Folder of the images: train/CLASS and val/CLASS, as of ImageNet."""
    epochs: Count = 100
    """Epochs of the pretraining."""
    batch_size: Count = 256
    """Images of a batch, in each process."""
    size: Pixels = 224
    """Height and width of the images, in pixels."""
    optimiser: Optimiser = field(
        default=SGD(lr=0.1, weight_decay=1e-4, rate=CosineLR(final=0.0, warmup_epochs=5, warmup_start=0.01))
    )
    label_smoothing: ShareBelowOne = 0.1
    """Share of each label that is spread over all classes; 0: none."""
    average: ShareBelowOne = 0.04
    """Share of the training over which the weights that are kept are averaged, exponentially; 0: the last weights. On
    ImageNet, torchvision's decay of 0.99998 is a share of 0.04."""
    workers: Processes = field(default=NUM_THREADS, metadata=WITHOUT_EFFECT)
    """Threads that decode images."""


def pretrain_network(net: nn.Module, data: ClassFolders, how: Pretraining, seed: int, stage: Stage) -> nn.Module:
    """Trains `net`, images [B, 3, H, W] to logits [B, C], from the stage's checkpoint if there is one. The network of
    averaged weights, whose validation each epoch's history has as `top1` and `top5`."""
    net = stage.prepare(net)
    fabric = stage.fabric
    place = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    batches = ClassBatches(data.train, how.batch_size, how.size, seed, fabric.device, how.workers, **place)
    decay = math.exp(-1 / (how.average * how.epochs * len(batches))) if how.average else 0.0
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimiser = how.optimiser.build(parameter_groups(net, how.optimiser.weight_decay))
    loop = stage.loop(how.epochs, len(batches), {"net": net, "average": average, "optimiser": optimiser})
    loss: Any = partial(_loss, label_smoothing=how.label_smoothing)
    for epoch in loop.epochs():
        net.train()
        for batch in loop.steps(partial(batches, epoch)):
            how.optimiser.set_rate(optimiser, loop.now, how.epochs)
            loop.add(training_step(net, optimiser, loss, None, stage, (batch, 0.0)))
            average.update_parameters(net)
        stage.average_statistics(average)
        held_out = centre_batches(data.val, how.batch_size, how.size, fabric.device, how.workers, **place)
        loop.end_epoch(lr=current_rate(optimiser), **_validate(average, held_out, len(data.val.labels), stage))
    return average.module


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters of `net` with their decay: none of normalisations and biases, which have fewer than two axes."""
    parameters = list(net.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]


def _loss(logits: Tensor, batch: Any, temperature: float, label_smoothing: float) -> Losses:
    return {"total": F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)}


@torch.no_grad()
def _validate(net: nn.Module, batches: Iterator[Any], num_images: int, stage: Stage) -> dict[str, float]:
    net.eval()
    found = torch.zeros(2, device=stage.fabric.device)
    for batch in batches:
        with stage.autocast():
            found += hits(net(batch.images), batch.labels)
    total: Any = stage.fabric.all_reduce(found, reduce_op="sum")
    return dict(zip(("top1", "top5"), (total / num_images).tolist(), strict=True))
