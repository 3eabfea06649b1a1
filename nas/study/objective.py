"""What a network is searched for: a loss on two halves of the training set, what the teacher says of them, and what an
architecture is worth."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.errors import NonFiniteLoss
from nas.losses.base import Loss, Losses
from nas.models.network import Network
from nas.recipe import Recipe
from nas.strategies.base import Score
from nas.strategies.proxies import NUM_BATCHES, ProxyName, estimate
from nas.study.joint import split_decisions
from nas.system.config import apply_overrides, fingerprint
from nas.tasks.base import Part, WeighsFurther, image_size
from nas.training.build import build_network
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import Batches, PruneCallback, train
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from search_spaces.cost.latency import Deployment, latency
from students.space import StudentModule, StudentSpace
from teachers.teacher import BatchTeacher, with_teacher


@dataclass(frozen=True)
class SearchObjective:
    """KDAS-ReID's search objective: the same loss on both halves, the same temperature in an epoch (Algorithm 1)."""

    loss_function: Loss
    weights: Batches
    alphas: Batches
    teacher: BatchTeacher | None
    num_epochs: int
    alpha_loss_function: Loss | None = None
    """What the alphas minimise; None: the weights' loss (the paper)."""
    trials: Trials | None = None
    """What gives architectures their scores."""
    temperatures: dict[Loss, Tensor] = field(default_factory=dict)
    """Of the losses that take theirs from a tensor, which stays where it is."""

    @property
    def num_steps(self) -> int:
        return min(len(self.weights), len(self.alphas))

    def weight_batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return self._with_teacher(self.weights, self.loss_function, epoch, start)

    def alpha_batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return self._with_teacher(self.alphas, self.alpha_loss_function or self.loss_function, epoch, start)

    def temperature(self, epoch: int) -> float | None:
        """The teacher's temperature in `epoch`; None without a teacher, or where the loss has none."""
        return self.loss_function.temperature_at(epoch, self.num_epochs) if self.teacher else None

    def record(self, epoch: int) -> dict[str, float | None]:
        return {"temperature": self.temperature(epoch)}

    def loss(self, net: nn.Module, batch: Any, epoch: int) -> Losses:
        return self._loss(self.loss_function, net, batch, epoch)

    def alpha_loss(self, net: nn.Module, batch: Any, epoch: int) -> Losses:
        return self._loss(self.alpha_loss_function or self.loss_function, net, batch, epoch)

    def hold(self, epoch: int, device: torch.device) -> list[tuple[Loss, float | None]]:
        constants = []
        for function in (self.loss_function, self.alpha_loss_function or self.loss_function):
            now, temperature = function.at(epoch, self.num_epochs), function.temperature_at(epoch, self.num_epochs)
            if temperature and now.takes_tensors:
                self.temperatures.setdefault(function, torch.empty((), device=device)).fill_(temperature)
                temperature = None
            constants.append((now, temperature))
        return constants

    def value(self, net: nn.Module) -> float:
        assert self.trials is not None
        return self.trials.value(net)

    def cost(self, architecture: Architecture) -> float:
        assert self.trials is not None
        return self.trials.cost(architecture)

    def deployment(self) -> Deployment:
        assert self.trials is not None
        return self.trials.deployment()

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        assert self.trials is not None
        return self.trials.score(architecture, epochs, report)

    def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
        assert self.trials is not None
        return self.trials.estimate(architecture, proxy)

    def _loss(self, function: Loss, net: nn.Module, batch: Any, epoch: int) -> Losses:
        temperature = function.temperature_at(epoch, self.num_epochs) or 0.0
        told: Any = self.temperatures.get(function, temperature) if temperature else temperature
        return function.at(epoch, self.num_epochs)(net(batch.images), batch, told)

    def _with_teacher(self, batches: Batches, function: Loss, epoch: int, start: int) -> Iterator[Any]:
        """Where the loss does not listen, the teacher is not asked."""
        now, temperature = function.at(epoch, self.num_epochs), function.temperature_at(epoch, self.num_epochs)
        teacher = self.teacher if now.listens(temperature) else None
        return with_teacher(islice(batches(epoch, start), self.num_steps - start), teacher)


def train_and_score(
    recipe: Recipe,
    network: Network,
    batches: Batches,
    training: Training,
    stage: Stage,
    teacher: BatchTeacher | None,
    value: Callable[[StudentModule], float],
    report: PruneCallback | None,
) -> Score:
    """Trains the network under the recipe's loss; its value behind the last epoch, and its cost in multiply-adds.

    What the stage was to go on with is removed. Raises NonFiniteLoss when the training diverges.
    """
    since, before = time.monotonic(), stage.seconds

    def validate(net: StudentModule) -> dict[str, float]:
        return {"mAP": value(net)}

    try:
        loop = train(network.net, batches, recipe.loss, training, stage, teacher, validate, report)
    except NonFiniteLoss:
        stage.checkpoint.unlink(missing_ok=True)
        raise
    stage.checkpoint.unlink(missing_ok=True)
    told = loop.history[-1].get("mAP")
    reached = value(network.net) if told is None else told
    counted = cost(recipe.task.deployed(network.net.inference()), *image_size(recipe.task, recipe))
    seconds = before + time.monotonic() - since
    return Score(reached, counted.multiply_adds, seconds, bool(loop.stopped), counted.parameters)


class Judged:
    """How good a network is while it trains: what else is weighed is of the same look as its mAP."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.last: dict[str, float] = {}

    def __call__(self, net: StudentModule) -> float:
        self.last = self.trials.values(net.inference())
        return self.last["mAP"]

    def further(self, net: StudentModule) -> dict[str, float]:
        """Of the network as it was seen last; one that a killed process had seen is looked at again."""
        if self.trials.recipe.search.further and not self.last:
            self(net)
        return {name: value for name, value in self.last.items() if name != "mAP"}


@dataclass(frozen=True)
class Trials:
    """The trials of one search. A trial trains as the recipe retrains, with the search's batches, and is measured on
    `part`, the alphas' half."""

    recipe: Recipe
    data: Any
    stage: Stage
    teacher: BatchTeacher | None
    batches: Batches
    part: Part
    first_batches: list[Any] = field(default_factory=list)
    """Those that zero-cost proxies look at, with what the teacher says of them, once one has."""

    def value(self, net: nn.Module) -> float:
        """The mAP of a network as it stands. Raises ValueError when nothing can be measured."""
        self._check()
        return self.recipe.task.value(net, self.part, self.recipe, self.stage)

    def cost(self, architecture: Architecture) -> float:
        """Multiply-adds of one image without the classifier; or milliseconds, for an image alone, on this machine."""
        task, (architecture, _) = self.recipe.task, split_decisions(architecture, self.recipe)
        height, width = image_size(task, self.recipe)
        timed = self.recipe.search.cost == "latency_ms"
        with torch.device("cpu" if timed else "meta"):
            net = task.deployed(self._space.student(architecture).inference())
        if timed:
            return latency(net, height, width, self.deployment().runtime).median
        return cost(net, height, width).multiply_adds

    def deployment(self) -> Deployment:
        recipe = self.recipe
        runtime = recipe.machine.runtime(recipe.search.runtime)
        return Deployment(runtime=runtime, part=lambda net: recipe.task.deployed(cast(StudentModule, net).inference()))

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        """A network whose training diverges has the value 0, with a warning.

        Raises ValueError when nothing can be measured.
        """
        self._check()
        own, overrides = split_decisions(architecture, self.recipe)
        recipe = apply_overrides(self.recipe, overrides)
        training = replace(recipe.retrain, epochs=epochs, validate_every=int(report is not None))
        stage = self._stage(architecture, epochs)
        network = build_network(self._space, own, self.data.identities, training, recipe.seed)
        judged, since = Judged(self), time.monotonic()
        try:
            score = train_and_score(recipe, network, self.batches, training, stage, self.teacher, judged, report)
        except NonFiniteLoss as error:
            warnings.warn(f"the trial of {architecture.hash} counts as mAP 0: {error}", stacklevel=2)
            score = Score(0.0, 0.0, time.monotonic() - since, further=dict.fromkeys(recipe.search.further, 0.0))
        else:
            score = replace(score, further=judged.further(network.net))
            if recipe.search.cost == "multiply_adds":
                return score
        return replace(score, cost=self.cost(architecture))

    def values(self, net: nn.Module) -> dict[str, float]:
        """Beside the mAP of a network as it stands what else the search weighs. Raises ValueError as `value` does."""
        self._check()
        task, further = self.recipe.task, self.recipe.search.further
        if not further:
            return {"mAP": self.value(net)}
        assert isinstance(task, WeighsFurther)
        found = task.values(net, self.part, self.recipe, self.stage)
        return {name: found[name] for name in ("mAP", *further)}

    def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
        """What `proxy` says of the network before its training, on the first batches of the search."""
        since = time.monotonic()
        own, overrides = split_decisions(architecture, self.recipe)
        recipe = apply_overrides(self.recipe, overrides)
        num_epochs = recipe.retrain.epochs
        loss = recipe.loss.at(0, num_epochs)
        temperature = recipe.loss.temperature_at(0, num_epochs) if self.teacher else None
        network = build_network(self._space, own, self.data.identities, recipe.retrain, recipe.seed)
        net = self.stage.prepare(network.net)
        features = self.stage.prepare(recipe.task.deployed(net.inference()))
        if not self.first_batches:
            self.first_batches.extend(with_teacher(islice(self.batches(0), max(NUM_BATCHES.values())), self.teacher))
        batches = self.first_batches[: NUM_BATCHES[proxy]]
        value = estimate(
            proxy, net, features, batches, lambda batch: loss(net(batch.images), batch, temperature or 0.0)["total"]
        )
        counted = cost(features, *image_size(recipe.task, recipe))
        score = Score(value, counted.multiply_adds, time.monotonic() - since, parameters=counted.parameters)
        return score if recipe.search.cost == "multiply_adds" else replace(score, cost=self.cost(architecture))

    def _check(self) -> None:
        if self.part.problem:
            raise ValueError(self.part.problem)

    @property
    def _space(self) -> StudentSpace:
        return self.recipe.space.with_ids(len(self.data.identities))

    def _stage(self, architecture: Architecture, epochs: int) -> Stage:
        """Of a trial's own, so that a killed one goes on."""
        folder = self.stage.folder / f"{self.stage.name}.trials" / architecture.hash
        return Stage(
            folder,
            "retrain",
            fingerprint(self.stage.fingerprint, epochs),
            self.stage.machine,
            self.stage.fabric,
            quiet=True,
        )
