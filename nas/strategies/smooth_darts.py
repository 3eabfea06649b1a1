"""SmoothDARTS: the weights are trained for all mixtures around the current one (Chen and Hsieh 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nas.losses.base import Losses
from nas.strategies.autograd import running_statistics_kept
from nas.strategies.base import Batch, Objective, Stage
from nas.strategies.bilevel import Bilevel
from nas.strategies.cost_penalty import CostPenalty
from nas.strategies.darts import DARTS
from search_spaces.ranges import Count, Positive
from search_spaces.relaxed import Supernet

LEAST = 1e-6
"""The least weight of a perturbed candidate, so that never all of a decision's are 0."""


@dataclass(frozen=True, kw_only=True)
class SmoothDARTS(DARTS):
    """Searches by gradient with weights that are trained at perturbed softmax weights: by chance (SDARTS-RS), or where
    the loss is worst (SDARTS-ADV). The alphas are trained at their own.

    Epochs and optimisers are DARTS's here.
    """

    perturbed: Literal["random", "adversarial"] = "random"
    """How the softmax weights are perturbed: by uniform noise, or by gradient ascent on the training loss."""
    first_epsilon: Positive = 0.03
    """Largest perturbation in the first epoch, from which it grows linearly."""
    last_epsilon: Positive = 0.3
    """Largest perturbation in the last epoch."""
    num_ascents: Count = 7
    """Steps of the gradient ascent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order == 2:
            raise self.out_of_range("order", "be 1, as a perturbed step of the weights is not differentiated")

    @property
    def no_graphs(self) -> str:
        return "the perturbation of the weights is drawn on the CPU"

    def epsilon(self, epoch: int) -> float:
        return self.first_epsilon + (self.last_epsilon - self.first_epsilon) * epoch / max(self.epochs - 1, 1)

    def begin_epoch(self, supernet: Supernet, epoch: int) -> dict[str, float]:
        return {"epsilon": self.epsilon(epoch)}

    def bilevel(self, supernet: Supernet, objective: Objective, stage: Stage, price: CostPenalty | None) -> Bilevel:
        return SmoothBilevel(self, supernet, objective, stage, price)


class SmoothBilevel(Bilevel):
    """Steps of the weights at perturbed mixtures."""

    strategy: SmoothDARTS

    def _weight_step(self, batch: Batch, epoch: int) -> Losses:
        with self.supernet.weighted_with(self.perturbed(batch, epoch)):
            return super()._weight_step(batch, epoch)

    def perturbed(self, batch: Batch, epoch: int) -> Tensor:
        """The supernet's weights `[num_decisions, num_options]`, perturbed; processes that search together have the
        same.

        Random: uniformly within epsilon. Adversarial: from there, steps of `2 epsilon / num_ascents` along the sign of
        the loss's gradient, each brought back to within epsilon. Each row is then a mixture again, in which what
        weighed nothing weighs nothing.
        """
        epsilon, weights = self.strategy.epsilon(epoch), self.supernet.weights().detach()
        noise = torch.empty(weights.shape).uniform_(-epsilon, epsilon)  # by the CPU's generator: checkpoints keep it
        found = mixture(weights + noise.to(weights), weights == 0)
        if self.strategy.perturbed == "adversarial":
            with running_statistics_kept(self.modules):
                for _ in range(self.strategy.num_ascents):
                    ascent = 2 * epsilon / self.strategy.num_ascents * self._slope(found, batch, epoch).sign()
                    near = (found + ascent).clamp(weights - epsilon, weights + epsilon)
                    found = mixture(near, weights == 0)
        return found

    def _slope(self, weights: Tensor, batch: Batch, epoch: int) -> Tensor:
        """The gradient of the training loss with respect to the supernet's weights."""
        weights = weights.clone().requires_grad_()
        with self.supernet.weighted_with(weights):
            return self._gradients(self.objective.loss, batch, epoch, [weights])[1][0]


def mixture(weights: Tensor, left_out: Tensor) -> Tensor:
    """The closest weights from `LEAST` to 1, over the sum of their row; 0 for what is left out.

    weights, left_out: `[num_decisions, num_options]`.
    """
    weights = weights.clamp(LEAST, 1.0).masked_fill(left_out, 0.0)
    return weights / weights.sum(dim=1, keepdim=True)
