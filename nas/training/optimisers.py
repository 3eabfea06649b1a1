"""Optimisers and learning rates as plain data: a recipe names them, a stage builds them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from search_spaces.ranges import CountOrZero, NonNegative, Positive, Ranged, ShareBelowOne


class Rate(Ranged, ABC):
    """How the learning rate changes over a training: a factor on the optimiser's `lr`."""

    @abstractmethod
    def factor(self, epoch: float, num_epochs: int) -> float:
        """The factor at `epoch`, counted from 0 and fractional within an epoch."""


@dataclass(frozen=True, kw_only=True)
class ConstantLR(Rate):
    """The same rate throughout."""

    def factor(self, epoch: float, num_epochs: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class CosineLR(Rate):
    """A linear rise over `warmup_epochs`, then half a cosine from 1 down to `final`."""

    final: NonNegative = 0.01
    """Factor on the learning rate at the end of the training."""
    warmup_epochs: CountOrZero = 0
    """Epochs at the start in which the learning rate rises linearly; 0: none."""
    warmup_start: NonNegative = 0.1
    """Factor on the learning rate at the start of the rise."""

    def factor(self, epoch: float, num_epochs: int) -> float:
        if epoch < self.warmup_epochs:
            return _warming(self.warmup_start, epoch, self.warmup_epochs)
        done = (epoch - self.warmup_epochs) / max(num_epochs - self.warmup_epochs, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


@dataclass(frozen=True, kw_only=True)
class MultiStepLR(Rate):
    """A linear rise over `warmup_epochs`, then 1, times `gamma` from each of the epochs `milestones` on."""

    milestones: tuple[CountOrZero, ...]
    """Epochs from which on the learning rate is multiplied by `gamma`, each once more."""
    gamma: NonNegative = 0.1
    """Factor on the learning rate at each milestone."""
    warmup_epochs: CountOrZero = 0
    """Epochs at the start in which the learning rate rises linearly; 0: none."""
    warmup_start: NonNegative = 0.1
    """Factor on the learning rate at the start of the rise."""

    def factor(self, epoch: float, num_epochs: int) -> float:
        if epoch < self.warmup_epochs:
            return _warming(self.warmup_start, epoch, self.warmup_epochs)
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


def _warming(start: float, epoch: float, num_epochs: int) -> float:
    """On the straight line from `start` to 1."""
    return start + (1 - start) * epoch / num_epochs


@dataclass(frozen=True, kw_only=True)
class Optimiser(Ranged, ABC):
    """An optimiser's constants and its learning rate over time."""

    lr: Positive
    """Learning rate, which the schedule multiplies by a factor."""
    weight_decay: NonNegative = 5e-4
    """Weight decay: each weight times this is added to its gradient; 0: none."""
    rate: Rate = field(default_factory=ConstantLR)

    @abstractmethod
    def build(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """For tensors, or for groups of them with settings of their own, as torch takes them."""

    def set_rate(self, optimiser: torch.optim.Optimizer, epoch: float, num_epochs: int) -> None:
        """Sets the learning rate at `epoch` (fractional)."""
        rate = self.lr * self.rate.factor(epoch, num_epochs)
        for group in optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


class RatedSGD(torch.optim.SGD):
    """SGD that also takes a tensor of the device as its learning rate, of which torch's asks for the number."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if not isinstance(self.param_groups[0]["lr"], Tensor):
            return super().step(closure)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            moves = torch._foreach_add([each.grad for each in parameters], parameters, alpha=group["weight_decay"])
            for parameter in parameters:
                if self.state[parameter].get("momentum_buffer") is None:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, moves)
            torch._foreach_sub_(parameters, torch._foreach_mul(buffers, group["lr"]))
        return None


@dataclass(frozen=True, kw_only=True)
class SGD(Optimiser):
    momentum: ShareBelowOne = 0.9
    """Share of the previous step that each step keeps; 0: plain SGD."""

    def build(self, parameters: Iterable[Any]) -> torch.optim.SGD:
        return RatedSGD(parameters, self.lr, self.momentum, weight_decay=self.weight_decay, foreach=True)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""

    def build(self, parameters: Iterable[Any]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, self.lr, self.betas, weight_decay=self.weight_decay)


def current_rate(optimiser: torch.optim.Optimizer) -> float:
    """The learning rate of the last step, also where a checkpoint restored it."""
    return float(optimiser.param_groups[0]["lr"])


def place_numbers(optimiser: torch.optim.Optimizer, on_device: bool) -> None:
    """Lets an optimiser of `SGD` or `Adam` have its learning rate and count of steps as tensors beside its parameters,
    which a graph that is replayed follows, or as numbers, whatever a checkpoint brought."""
    for group in optimiser.param_groups:
        device = group["params"][0].device
        group["lr"] = torch.tensor(float(group["lr"]), device=device) if on_device else float(group["lr"])
        if "capturable" in group:
            group["capturable"] = on_device
        for state in (optimiser.state[parameter] for parameter in group["params"] if parameter in optimiser.state):
            if "step" in state:
                state["step"] = state["step"].to(device if on_device else "cpu")


def parameters_of(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """What it trains, in the order of its groups."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def step(optimiser: torch.optim.Optimizer, gradients: Sequence[Tensor | None], clip: float | None = None) -> None:
    """One step of `optimiser` along `gradients` (of its parameters, in order), clipped to the norm `clip`."""
    parameters = parameters_of(optimiser)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
