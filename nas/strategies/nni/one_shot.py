"""NNI's one-shot searches: its supernet and its steps, called by our loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from nas.strategies.base import Batch, Loop, Objective, Score, SearchResult, Stage
from nas.strategies.health import health
from nas.strategies.nni.choices import Answers, NNISupernet, seeded
from nas.strategies.nni.install import quiet
from nas.strategies.nni.settings import OneShotSettings
from nas.strategies.single_path import statistics_of
from nas.strategies.trials import Trial, found
from nas.training.optimisers import current_rate
from search_spaces.derive import derive, ranked
from search_spaces.space import SearchSpace
from search_spaces.trial import proposed


class Task(nn.Module):
    """Our objective, as NNI's steps see it: even batches are the alphas', odd ones the weights'."""

    automatic_optimization = True

    def __init__(self, supernet: NNISupernet, objective: Objective, stage: Stage, clip: float | None) -> None:
        super().__init__()
        self.supernet, self.objective, self.stage, self.clip = supernet, objective, stage, clip
        self.epoch = 0
        self.loop: Loop | None = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        name, loss = ("alpha", self.objective.alpha_loss) if index % 2 == 0 else ("weight", self.objective.loss)
        with self.stage.autocast():
            losses = loss(self.supernet, batch, self.epoch)
        if self.loop:
            self.loop.add(losses, name)
        return losses["total"]

    def on_train_epoch_start(self, *_: object) -> None:
        """Nothing to do; nor where NNI sets the model, which is the supernet's already."""

    set_model = on_train_epoch_start

    def optimizer_zero_grad(self, epoch: int, index: int, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()

    def configure_gradient_clipping(self, optimiser: torch.optim.Optimizer, *_: object) -> None:
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], self.clip)

    def optimizer_step(self, epoch: int, index: int, optimiser: torch.optim.Optimizer) -> None:
        optimiser.step()

    def validation_step(self, batch: Batch, index: int) -> None:
        """The reward of NNI's controller: the alphas' loss, negative."""
        with torch.no_grad():
            self.reward = -self.stage.mean([self.training_step(batch, index)])[0]

    def backward(self, loss: Tensor) -> None:
        """The gradients of all processes' means."""
        loss.backward()
        reached = {parameter: parameter.grad for parameter in self.parameters() if parameter.grad is not None}
        for parameter, mean in zip(reached, self.stage.mean(list(reached.values())), strict=True):
            parameter.grad = mean


class Trainer:
    """What NNI's steps ask of Lightning's trainer."""

    is_last_batch = False
    lr_scheduler_configs = ()

    def __init__(self, task: Task, max_epochs: int) -> None:
        self.task, self.max_epochs = task, max_epochs

    @property
    def current_epoch(self) -> int:
        return self.task.epoch

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        return {"reward": self.task.reward}


class Steps:
    """NNI's own steps on its supernet, called by our loop in the place of Lightning's trainer."""

    def __init__(self, strategy: OneShotSettings, supernet: NNISupernet, objective: Objective, stage: Stage) -> None:
        self.strategy, self.supernet, self.objective = strategy, supernet, objective
        self.task = Task(supernet, objective, stage, strategy.clip)
        alphas = supernet.architecture_parameters()
        of_alphas = {id(alpha) for alpha in alphas}
        self.optimisers = {
            "weights": strategy.weights.build(p for p in supernet.parameters() if id(p) not in of_alphas)
        }
        if alphas:
            self.optimisers["alphas"] = strategy.alphas.build(alphas)
            setattr(self.optimisers["alphas"], "is_arch_optimizer", True)  # noqa: B010 - by this NNI knows it
        with quiet():
            self.module = self._module()

    def _module(self) -> Any:
        """NNI's steps without Lightning: its trainer, optimisers and logs are ours."""
        module = self.supernet.nni.configure_oneshot_module(self.task)
        module.trainer = Trainer(self.task, self.strategy.epochs)
        module.optimizers = lambda: list(self.optimisers.values())
        module.manual_backward = self.task.backward
        module.log = module.log_dict = lambda *_: None
        module.log_prob_every_n_step = math.inf
        module._optimizer_progress = 0
        if self.strategy.algorithm == "RandomOneShot":
            module.resample = self.supernet.take_by_chance
        if self.strategy.algorithm == "ENAS":
            module.set_model(self.supernet.opened)
        return module

    @property
    def parts(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        controller = {"controller": self.module.policy} if self.strategy.algorithm == "ENAS" else {}
        return {"supernet": self.supernet, **self.optimisers, **controller}

    def begin_epoch(self, epoch: int) -> None:
        self.task.epoch = epoch
        self.supernet.train()
        self.module.on_train_epoch_start()

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Batch, Batch | None]]:
        weights = self.objective.weight_batches(epoch, start)
        if self.strategy.algorithm == "RandomOneShot":
            return ((batch, None) for batch in weights)
        return zip(weights, self.objective.alpha_batches(epoch, start), strict=True)

    def set_rates(self, now: float) -> None:
        for name, optimiser in self.optimisers.items():
            getattr(self.strategy, name).set_rate(optimiser, now, self.strategy.epochs)

    def step(self, train: Batch, validation: Batch | None) -> None:
        match self.strategy.algorithm:
            case "RandomOneShot":
                self._descend(self.module.training_step(train, 1))
            case "ENAS":
                with seeded(int(torch.randint(2**31, ()))):
                    self.module.training_step((train, 1, 0), 1)
                    self.module.training_step((validation, 2, 1), 2)
            case _:
                self.module.training_step({"train": train, "val": validation}, 1)

    def _descend(self, loss: Tensor) -> None:
        """What Lightning does where NNI leaves the step to it."""
        optimiser = self.optimisers["weights"]
        optimiser.zero_grad()
        self.task.backward(loss)
        self.task.configure_gradient_clipping(optimiser)
        optimiser.step()

    def record(self, epoch: int) -> dict[str, object]:
        """What the history says of an epoch, as that of our DARTS does."""
        record = {"lr": current_rate(self.optimisers["weights"]), **self.objective.record(epoch)}
        if not self.strategy.learns_alphas:
            return record
        predicted = derive(self.supernet)
        return record | {
            "health": health(self.supernet, predicted),
            "predicted": predicted.hash,
            "decisions": predicted.to_dict()["decisions"],
            "alphas": self.supernet.alphas(),
        }


def search(strategy: OneShotSettings, space: SearchSpace, objective: Objective, stage: Stage) -> SearchResult:
    """A search in one of NNI's supernets, seeded by the seed that torch was given."""
    supernet = stage.prepare(NNISupernet(space, strategy))
    steps = Steps(strategy, supernet, objective, stage)
    loop = steps.task.loop = stage.loop(strategy.epochs, objective.num_steps, steps.parts)
    for epoch in loop.epochs():
        steps.begin_epoch(epoch)
        for train, validation in loop.steps(lambda start, epoch=epoch: steps.batches(epoch, start)):
            steps.set_rates(loop.now)
            steps.step(train, validation)
        loop.limit(strategy.minutes)
        loop.end_epoch(**steps.record(epoch))
    if strategy.learns_alphas:
        return SearchResult(list(islice(ranked(supernet), strategy.num_ranked)), loop.history)
    result = found(candidates(steps, space), loop.history, strategy.num_ranked)
    return replace(result, score="mAP with shared weights")


def candidates(steps: Steps, space: SearchSpace) -> list[Trial]:
    """Architectures that the supernet draws, with their mAP by its weights and their own BatchNorm statistics."""
    strategy, supernet, objective = steps.strategy, steps.supernet, steps.objective
    images = [batch.images for batch in islice(objective.weight_batches(0), strategy.recalibration)]
    tried = []
    for number in range(strategy.num_candidates):
        since = monotonic()
        architecture = proposed(space, Answers(steps.module.resample()))
        with statistics_of(supernet, images):
            value = objective.value(supernet)
        score = Score(value, objective.cost(architecture), monotonic() - since)
        tried.append(Trial(number, architecture, steps.task.stage.first_says(score)))
    return tried
