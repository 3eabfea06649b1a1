"""`nas bench search`: one bilevel step of DARTS against plainer ways to compute it, and against NNI's."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from nas.strategies.autograd import require_grad_only
from nas.strategies.base import Losses, Objective
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.strategies.nni.install import check_installed, quiet
from nas.strategies.nni.settings import OneShotSettings
from nas.training.graphs import Graphs
from nas.training.machine import Machine
from nas.training.optimisers import step
from nas.training.stage import Stage
from search_spaces.cell import Cells
from search_spaces.ranges import Channels, Count, Layers, Pixels, checked
from search_spaces.relaxed import Supernet

if TYPE_CHECKING:
    from nas.strategies.nni.choices import NNISupernet


@dataclass(frozen=True)
class Noise:
    """A batch of random images."""

    images: Tensor


class MeanSquare:
    """As much of an objective as a step needs; it costs nothing beside the network's own passes."""

    num_steps = 1

    def loss(self, net: nn.Module, batch: Noise, epoch: int) -> Losses:
        return {"total": net(batch.images)["map"].float().square().mean()}

    alpha_loss = loss

    def hold(self, epoch: int, device: torch.device) -> None:
        """Nothing changes from epoch to epoch."""

    def record(self, epoch: int) -> Mapping[str, object]:
        return {}

    def weight_batches(self, epoch: int, start: int = 0) -> Iterator[Noise]:
        return iter(())

    alpha_batches = weight_batches


@checked
def search(
    channels: Channels = 16,
    cells: Layers = 8,
    height: Pixels = 96,
    width: Pixels = 32,
    batch: Count = 16,
    repeats: Count = 5,
    machine: Machine = Machine(),
) -> dict[str, Any]:
    """One bilevel step (weights, alphas) of DARTS on the KDAS supernet, in several forms, one after the other in turn.

    `seconds`: median over `repeats`; `ratio`: median of the ratio to ours in the same turn; `saved_mib`: what autograd
    keeps for the backward pass of a weight step. The first step of each form is not counted. `NNI` is NNI 3.0's DARTS
    with the same candidates, weights, batch and loss; without NNI it is left out. `plain, every gradient` is as DARTS's
    own code takes the step.
    """
    space = Cells(channels=channels, cells=cells, reductions=tuple(p for p in (3, 5, 7) if p <= cells))
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), "bench", "", machine)
        images = torch.randn(batch, 3, height, width).to(stage.fabric.device, memory_format=torch.channels_last)
        forms = {name: form(space, stage, Noise(images)) for name, form in available().items()}
        saved = {name: saved_mib(form.forward) for name, form in forms.items()}
        for form in forms.values():
            form.step()
        turns = [
            {name: _seconds(form.step, stage.fabric.device) for name, form in forms.items()} for _ in range(repeats)
        ]
    return {
        name: {
            "seconds": statistics.median(turn[name] for turn in turns),
            "ratio": statistics.median(turn[name] / turn["ours"] for turn in turns),
            "saved_mib": saved[name],
        }
        for name in forms
    }


@dataclass(frozen=True)
class Form:
    """A way to take the step."""

    step: Callable[[], None]
    forward: Callable[[], Tensor]
    """The loss of the weights, with what their step differentiates."""


def ours(
    space: Cells,
    stage: Stage,
    batch: Noise,
    strategy: DARTS = DARTS(),  # noqa: B008 (frozen)
    graphs: Graphs | None = None,
) -> Form:
    bilevel = _bilevel(space, stage, strategy)
    if graphs is not None:
        bilevel.replay(graphs)

    def step() -> None:
        bilevel.weight_step(batch, 0)
        bilevel.alpha_step(batch, batch, 0)

    def forward() -> Tensor:
        with require_grad_only(bilevel.weights, bilevel.parameters), stage.autocast():
            return bilevel.objective.loss(bilevel.supernet, batch, 0)["total"]

    return Form(step, forward)


def every_gradient(space: Cells, stage: Stage, batch: Noise, strategy: DARTS = DARTS()) -> Form:  # noqa: B008 (frozen)
    """The same step as most toolkits take it: each pass computes the gradients of weights and alphas."""
    bilevel = _bilevel(space, stage, strategy)
    of = [bilevel.supernet.alpha, *bilevel.weights]

    def loss() -> Tensor:
        with stage.autocast():
            return bilevel.objective.loss(bilevel.supernet, batch, 0)["total"]

    def both() -> None:
        for optimiser, used in ((bilevel.weight_optimiser, slice(1, None)), (bilevel.alpha_optimiser, slice(0, 1))):
            step(optimiser, list(torch.autograd.grad(loss(), of, materialize_grads=True)[used]))

    return Form(both, loss)


def nni(space: Cells, stage: Stage, batch: Noise) -> Form:
    """NNI's supernet and its own step, with the optimisers of ours."""
    with quiet():
        from nas.strategies.nni.choices import NNISupernet
        from nas.strategies.nni.one_shot import Steps
    settings = OneShotSettings()
    torch.manual_seed(0)
    supernet = stage.prepare(NNISupernet(space, settings))
    steps = Steps(settings, supernet, cast(Objective, MeanSquare()), stage)
    copy_weights(_bilevel(space, stage, DARTS()).supernet, supernet)
    return Form(lambda: steps.step(batch, batch), lambda: steps.task.training_step(batch, 1))


def _bilevel(space: Cells, stage: Stage, strategy: DARTS) -> Bilevel:
    torch.manual_seed(0)
    return Bilevel(strategy, stage.prepare(strategy.supernet(space)), cast(Objective, MeanSquare()), stage)


def copy_weights(ours: Supernet, theirs: NNISupernet) -> None:
    """Lets NNI's supernet have our weights and alphas."""
    alphas = theirs.architecture_parameters()
    of_alphas = {id(alpha) for alpha in alphas}
    weights = [parameter for parameter in theirs.parameters() if id(parameter) not in of_alphas]
    with torch.no_grad():
        for other, own in zip(weights, ours.net.parameters(), strict=True):
            other.copy_(own)
        for theirs_alpha, row in zip(alphas, ours.alpha, strict=True):
            theirs_alpha.copy_(row[: len(theirs_alpha)])


def available() -> dict[str, Callable[[Cells, Stage, Noise], Form]]:
    """The forms by name; NNI's where NNI is."""
    try:
        check_installed("DARTS")
    except ValueError as error:
        warnings.warn(f"NNI is not measured: {error}", stacklevel=2)
        return {name: form for name, form in FORMS.items() if name != "NNI"}
    return FORMS


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    start = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


def saved_mib(forward: Callable[[], Tensor]) -> float:
    """The bytes of the different tensors that a forward pass keeps for its backward pass, in MiB."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()  # not its address: on the meta device all have the same
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(kept.values()) / 2**20


FORMS: dict[str, Callable[[Cells, Stage, Noise], Form]] = {
    "ours": ours,
    "plain mixed operation": partial(ours, strategy=DARTS(folded=False)),
    "every gradient": every_gradient,
    "plain, every gradient": partial(every_gradient, strategy=DARTS(folded=False)),
    "second order": partial(ours, strategy=DARTS(order=2)),
    "NNI": nni,
}
