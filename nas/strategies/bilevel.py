"""The two steps of the bilevel problem that DARTS solves (Liu et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.strategies.autograd import require_grad_only, running_statistics_kept
from nas.strategies.base import Batch, Losses, Objective, Stage
from nas.strategies.cost_penalty import CostPenalty
from nas.strategies.hessian import largest_eigenvalue
from nas.training.graphs import Graphs
from nas.training.optimisers import SGD, Optimiser, current_rate, place_numbers, step
from search_spaces.relaxed import Supernet


class BilevelSettings(Protocol):
    """What the steps take from their strategy."""

    @property
    def weights(self) -> Optimiser: ...

    @property
    def alphas(self) -> Optimiser: ...

    @property
    def order(self) -> int: ...

    @property
    def clip(self) -> float | None: ...

    def penalties(self, supernet: Supernet, epoch: int) -> Losses:
        """What is added to the alphas' loss, by name."""


class Loss(nn.Module):
    """A network's loss as a module, so that it can be called with other weights."""

    def __init__(self, net: Supernet, loss: Callable[..., Losses]) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, batch: Batch, epoch: int) -> Losses:
        return self.loss(self.net, batch, epoch)


class Bilevel:
    """The two steps of the bilevel problem on one supernet. Each computes only the gradients that it uses."""

    def __init__(
        self,
        strategy: BilevelSettings,
        supernet: Supernet,
        objective: Objective,
        stage: Stage,
        price: CostPenalty | None = None,
    ) -> None:
        self.price = price
        self.strategy = strategy
        self.supernet = supernet
        self.objective = objective
        self.stage = stage
        self.weights: list[Tensor] = list(supernet.net.parameters())
        self.parameters: list[Tensor] = list(supernet.parameters())
        self.modules: list[nn.Module] = list(supernet.modules())
        self.weight_optimiser = strategy.weights.build(self.weights)
        self.alpha_optimiser = strategy.alphas.build([supernet.alpha])
        self.graphs: Graphs | None = None

    def replay(self, graphs: Graphs) -> None:
        """From here on `graphs` take the steps. Whatever a checkpoint brings must be loaded before."""
        self.graphs = graphs
        for optimiser in (self.weight_optimiser, self.alpha_optimiser):
            place_numbers(optimiser, graphs.on)

    def alpha_loss(self, net: Supernet, batch: Batch, epoch: int) -> Losses:
        """The objective's loss for the alphas, the price of the expected cost, and the strategy's penalties."""
        losses = self.objective.alpha_loss(net, batch, epoch)
        added = {**({"price": self.price(net)} if self.price else {}), **self.strategy.penalties(net, epoch)}
        return {**losses, **added, "total": reduce(add, added.values(), losses["total"])}

    def weight_step(self, batch: Batch, epoch: int) -> Losses:
        """One step of the weights on a training batch."""
        return self._taken("weights", self._weight_step, batch, epoch)

    def _weight_step(self, batch: Batch, epoch: int) -> Losses:
        losses, gradients = self._gradients(self.objective.loss, batch, epoch, self.weights)
        step(self.weight_optimiser, gradients, self.strategy.clip)
        return losses

    def alpha_step(self, train: Batch, validation: Batch, epoch: int) -> Losses:
        """One step of the alphas on a validation batch; at second order through a weight step on `train`.

        Nothing else changes: neither the weights nor BatchNorm's running statistics.
        """
        return self._taken("alphas", self._alpha_step, (train, validation), epoch)

    def _alpha_step(self, batches: tuple[Batch, Batch], epoch: int) -> Losses:
        train, validation = batches
        with running_statistics_kept(self.modules):
            if self.strategy.order == 1:
                losses, gradients = self._gradients(self.alpha_loss, validation, epoch, [self.supernet.alpha])
            else:
                losses, gradients = self.hypergradient(train, validation, epoch, current_rate(self.weight_optimiser))
        step(self.alpha_optimiser, gradients)
        return losses

    def mean_alpha_loss(self, epoch: int) -> float:
        """The alphas' loss over all of the alphas' batches of `epoch`. Nothing changes."""
        with torch.no_grad(), running_statistics_kept(self.modules), self.stage.autocast():
            totals = [
                self.objective.alpha_loss(self.supernet, batch, epoch)["total"]
                for batch in self.objective.alpha_batches(epoch)
            ]
        return self.stage.mean([torch.stack(totals).float().mean()])[0].item()

    def _taken(self, whose: str, step: Callable[[Any, int], Losses], batch: Any, epoch: int) -> Losses:
        """A step, replayed where it can be."""
        if self.graphs is None or not self.graphs.on:
            return step(batch, epoch)
        constants = self.objective.hold(epoch, self.supernet.alpha.device)
        return self.graphs.run(whose, lambda given: step(given, epoch), batch, constants)

    def hypergradient(self, train: Batch, validation: Batch, epoch: int, lr: float) -> tuple[Losses, list[Tensor]]:
        """d/d alpha of L_val(w - lr * (momentum * buffer + dL_train/dw + decay * w), alpha) (DARTS, Eq. 7).

        Deviation: the Hessian-vector product is exact, by differentiating dL_train/dw once more. DARTS's central
        difference (Eq. 8, epsilon 0.01) steps over the kinks of ReLU, max pooling and hardest triplets: on a small
        supernet it is off by 0.4 to 5 times the gradient, at about the same time. Clipping is not part of the
        differentiated step.
        """
        alpha = self.supernet.alpha
        with self.stage.autocast():
            total = self.objective.loss(self.supernet, train, epoch)["total"]
        graph = torch.autograd.grad(total, self.weights, create_graph=True, materialize_grads=True)
        direction = self._direction(self.stage.mean([gradient.detach() for gradient in graph]))
        stepped = torch._foreach_sub([w.detach() for w in self.weights], torch._foreach_mul(direction, lr))
        losses, (direct, *vector) = self._gradients_at(stepped, validation, epoch)
        curved = [(gradient, v) for gradient, v in zip(graph, vector, strict=True) if gradient.requires_grad]
        through = torch.autograd.grad(
            [gradient for gradient, _ in curved], [alpha], [v for _, v in curved], materialize_grads=True
        )
        return losses, [direct - lr * self.stage.mean(list(through))[0]]

    def eigenvalue(self, epoch: int) -> float:
        """The largest eigenvalue of the Hessian of the validation loss by the alphas, on the first batch of `epoch`."""
        alpha, validation = self.supernet.alpha, next(iter(self.objective.alpha_batches(epoch)))
        with running_statistics_kept(self.modules), require_grad_only([alpha], self.parameters):
            with self.stage.autocast():
                total = self.alpha_loss(self.supernet, validation, epoch)["total"]
            (gradient,) = torch.autograd.grad(total, [alpha], create_graph=True)
            return largest_eigenvalue(
                lambda v: self.stage.mean(list(torch.autograd.grad(gradient, [alpha], v, retain_graph=True)))[0],
                torch.ones_like(alpha),
            )

    def _gradients_at(self, weights: Sequence[Tensor], batch: Batch, epoch: int) -> tuple[Losses, list[Tensor]]:
        """Those of the alphas' loss where the supernet has these `weights`: of the alphas, and of each weight."""
        names = [f"net.net.{name}" for name, _ in self.supernet.net.named_parameters()]
        weights = [weight.requires_grad_() for weight in weights]
        with self.stage.autocast():
            losses = functional_call(
                Loss(self.supernet, self.alpha_loss), dict(zip(names, weights, strict=True)), (batch, epoch)
            )
        of = [self.supernet.alpha, *weights]
        return losses, self.stage.gradients(losses["total"], of)

    def _direction(self, gradients: list[Tensor]) -> list[Tensor]:
        """SGD's step for `gradients`, before the learning rate."""
        sgd = cast(SGD, self.strategy.weights)  # second order is for SGD alone
        direction = torch._foreach_add(gradients, [w.detach() for w in self.weights], alpha=sgd.weight_decay)
        buffers = [self.weight_optimiser.state[w].get("momentum_buffer") for w in self.weights]
        if buffers[0] is not None:
            torch._foreach_add_(direction, buffers, alpha=sgd.momentum)
        return list(direction)

    def _gradients(
        self, loss: Callable[..., Losses], batch: Batch, epoch: int, of: list[Tensor]
    ) -> tuple[Losses, list[Tensor]]:
        with require_grad_only(of, self.parameters):
            with self.stage.autocast():
                losses = loss(self.supernet, batch, epoch)
            return losses, self.stage.gradients(losses["total"], of)
