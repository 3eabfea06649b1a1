"""`nas bench search`: one bilevel step of DARTS against plainer ways to compute it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from nas.optimisers import step
from nas.stage import Machine, Stage
from nas.strategies.base import Losses
from nas.strategies.darts import DARTS, Bilevel, only
from search_spaces.cell import Cells


@dataclass(frozen=True)
class Noise:
    """A batch of random images."""

    images: Tensor


class MeanSquare:
    """An objective that costs nothing beside the network's own passes."""

    num_steps = 1

    def loss(self, net: nn.Module, batch: Noise, epoch: int) -> Losses:
        return {"total": net(batch.images)["map"].float().square().mean()}

    alpha_loss = loss

    def record(self, epoch: int) -> Mapping[str, object]:
        return {}

    def weight_batches(self, epoch: int, start: int = 0) -> Iterator[Noise]:
        return iter(())

    alpha_batches = weight_batches


def search(channels: int = 16, cells: int = 8, height: int = 96, width: int = 32, batch: int = 16, repeats: int = 5,
           machine: Machine = Machine()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """One bilevel step (weights, then alphas) of DARTS on the KDAS supernet, in four forms, one after the other in turn.

    `seconds`: median over `repeats`; `ratio`: median of the ratio to ours in the same turn; `saved_mib`: what autograd
    keeps for the backward pass of a weight step. The first step of each form is not counted.
    """
    space = Cells(channels=channels, cells=cells, reductions=tuple(p for p in (3, 5, 7) if p <= cells))
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), "bench", "", machine)
        images = torch.randn(batch, 3, height, width).to(stage.fabric.device, memory_format=torch.channels_last)
        steps, saved = {}, {}
        for name, (form, strategy) in FORMS.items():
            torch.manual_seed(0)
            bilevel = Bilevel(strategy, stage.prepare(space.supernet(folded=strategy.folded)), MeanSquare(), stage)
            saved[name] = _saved_mib(bilevel, Noise(images))
            steps[name] = form(bilevel, Noise(images))
            steps[name]()
        turns = [{name: _seconds(run, stage.fabric.device) for name, run in steps.items()} for _ in range(repeats)]
    return {name: {"seconds": statistics.median(turn[name] for turn in turns),
                   "ratio": statistics.median(turn[name] / turn["ours"] for turn in turns),
                   "saved_mib": saved[name]} for name in steps}


def _step(bilevel: Bilevel, batch: Noise) -> Callable[[], None]:
    def run() -> None:
        bilevel.weight_step(batch, 0)
        bilevel.alpha_step(batch, batch, 0)
    return run


def _greedy_step(bilevel: Bilevel, batch: Noise) -> Callable[[], None]:
    """The same step as most toolkits take it: each pass computes the gradients of weights and alphas."""
    of = [bilevel.supernet.alpha, *bilevel.weights]

    def run() -> None:
        for optimiser, used in ((bilevel.weight_optimiser, slice(1, None)), (bilevel.alpha_optimiser, slice(0, 1))):
            with bilevel.stage.autocast():
                losses = bilevel.objective.loss(bilevel.supernet, batch, 0)
            gradients = torch.autograd.grad(losses["total"], of, materialize_grads=True)
            step(optimiser, list(gradients[used]))
    return run


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    start = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


def _saved_mib(bilevel: Bilevel, batch: Noise) -> float:
    """The bytes of the different tensors that a weight step keeps for its backward pass, in MiB."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with only(bilevel.weights, bilevel.supernet), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        bilevel.objective.loss(bilevel.supernet, batch, 0)
    return sum(kept.values()) / 2**20


FORMS = {"ours": (_step, DARTS()), "plain mixed operation": (_step, DARTS(folded=False)),
         "every gradient": (_greedy_step, DARTS()), "second order": (_step, DARTS(order=2))}
