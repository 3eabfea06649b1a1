"""DARTS: weights and alphas by gradient, in turn (Liu et al., 2019; Algorithm 1 of KDAS-ReID)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nas.strategies.base import Batch, Found, Loop, Losses, Objective, Stage, Strategy, check_minutes
from nas.strategies.hessian import has_grown, largest_eigenvalue
from nas.strategies.price import TABLE, Price, latency_table
from nas.training.optimisers import SGD, Adam, CosineRate, Optimiser, current_rate, step
from search_spaces.architecture import Architecture, parse_edge
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.derive import derive, ranked, skips_by_cell
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace

POOLS = ("max3", "avg3")


@dataclass(frozen=True, kw_only=True)
class DARTS(Strategy):
    """Searches by gradient in the space's supernet. The defaults are KDAS-ReID's search configuration (section 4.2.1).

    What the paper leaves open: momentum 0.9, Adam's betas (DARTS), clipping at norm 5 (DARTS). Each step updates the
    weights on a training batch, then the alphas on a validation batch (Algorithm 1).
    """

    epochs: int = 200
    minutes: float | None = None
    """The search ends with the epoch in which it has taken that long. Rates and temperatures are those of `epochs`."""
    order: Literal[1, 2] = 1
    """2: the gradient of the validation loss through one weight step (DARTS, Eq. 7)."""
    weights: Optimiser = field(default_factory=lambda: SGD(lr=0.1, rate=CosineRate(final=0.01)))
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=0.02, betas=(0.5, 0.999)))
    warmup_epochs: int = 0
    """Epochs at the start in which the alphas rest."""
    clip: float | None = 5.0
    """Largest norm of the weights' gradient."""
    max_skips: int | None = None
    """Most identities in a derived cell of each kind."""
    collapse_skips: int | None = None
    """Stop when an epoch's predicted cell of any kind has this many identities (DARTS+ stops at 2)."""
    eigenvalue_every: int = 0
    """Epochs between measurements of the largest eigenvalue of the validation loss's Hessian by the alphas; 0: none."""
    eigenvalue_growth: float | None = None
    """Stop when that eigenvalue's mean grows by this factor from one window to the next, and derive from the alphas of
    before (RobustDARTS: 1.3)."""
    eigenvalue_window: int = 5
    """Measurements in a window (RobustDARTS)."""
    cost: Literal["multiply_adds", "latency_ms"] = "multiply_adds"
    """What `cost_weight` is for: multiply-adds, or the time for one image as measured on this machine."""
    cost_weight: float = 0.0
    """Weight in the alphas' loss of the expected cost of one image, for each 10^9 multiply-adds or each ms."""
    target_multiply_adds: float | None = None
    """With it, `cost_weight` is the weight of their relative distance from this."""
    target_latency_ms: float | None = None
    """The same for the time."""
    latency_table: Path | None = None
    """Where the times of the candidates are read from, or written to if no file is there, so that several runs share
    them; None: each run measures its own."""
    num_ranked: int = 20
    """Length of the ranked list that a search ends with."""
    folded: bool = True
    """The exact mixed operation that keeps less for the backward pass."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.num_resting < self.epochs:
            raise ValueError(
                f"epochs must be at least 1 and warmup_epochs less than that, not {self.epochs} and {self.num_resting}"
            )
        if self.order == 2 and not isinstance(self.weights, SGD):
            raise ValueError("order=2 differentiates through a step of SGD: use SGD for the weights, or order=1")
        if self.eigenvalue_every < 0 or self.eigenvalue_window < 1:
            raise ValueError(
                "eigenvalue_every must be at least 0 and eigenvalue_window at least 1, not "
                f"{self.eigenvalue_every} and {self.eigenvalue_window}"
            )
        if self.eigenvalue_growth is not None and (self.eigenvalue_growth <= 1 or not self.eigenvalue_every):
            raise ValueError(
                "eigenvalue_growth must be above 1 and needs eigenvalue_every >= 1, not "
                f"{self.eigenvalue_growth} and {self.eigenvalue_every}"
            )
        check_minutes(self.minutes)
        self._check_cost()

    def _check_cost(self) -> None:
        needed = {
            "target_multiply_adds": "multiply_adds",
            "target_latency_ms": "latency_ms",
            "latency_table": "latency_ms",
        }
        for name, cost in needed.items():
            if getattr(self, name) is not None and self.cost != cost:
                raise ValueError(f"{name} needs cost={cost!r}, not {self.cost!r}")
        if self.cost_weight < 0 or (self._target is not None and not (self._target > 0 and self.cost_weight)):
            raise ValueError(
                f"cost_weight must be at least 0, and target_{self.cost} above 0 with a cost_weight "
                f"above 0, not {self.cost_weight} and {self._target}"
            )
        if self.cost == "latency_ms" and not self.cost_weight:
            raise ValueError("cost='latency_ms' needs a cost_weight above 0: without it no time is measured")

    @property
    def _target(self) -> float | None:
        return self.target_latency_ms if self.cost == "latency_ms" else self.target_multiply_adds

    @property
    def num_resting(self) -> int:
        """Epochs at the start in which the alphas rest."""
        return self.warmup_epochs

    def supernet(self, space: SearchSpace) -> Supernet:
        """The network that is searched. Raises ValueError naming what this strategy cannot decide in `space`."""
        return space.supernet(folded=self.folded)

    def check(self, space: SearchSpace) -> None:
        with torch.device("meta"):
            self.supernet(space)

    def begin_epoch(self, supernet: Supernet, epoch: int) -> dict[str, float]:
        """Sets what changes from epoch to epoch, and says it for the history; in DARTS nothing does."""
        return {}

    def search(self, space: SearchSpace, objective: Objective, stage: Stage) -> Found:
        supernet = stage.prepare(self.supernet(space))
        bilevel = Bilevel(self, supernet, objective, stage, self._price(space, objective, stage, supernet.alpha.device))
        loop = stage.loop(
            self.epochs,
            objective.num_steps,
            {"supernet": supernet, "weights": bilevel.weight_optimiser, "alphas": bilevel.alpha_optimiser},
        )
        for epoch in loop.epochs():
            supernet.train()
            record = self.begin_epoch(supernet, epoch)
            for train, validation in loop.steps(
                lambda start, epoch=epoch: zip(
                    objective.weight_batches(epoch, start), objective.alpha_batches(epoch, start), strict=True
                )
            ):
                self.weights.set_rate(bilevel.weight_optimiser, loop.now, self.epochs)
                self.alphas.set_rate(bilevel.alpha_optimiser, loop.now, self.epochs)
                if epoch >= self.num_resting and self.order == 2:
                    loop.add(bilevel.alpha_step(train, validation, epoch), "alpha")
                loop.add(bilevel.weight_step(train, epoch), "weight")
                if epoch >= self.num_resting and self.order == 1:
                    loop.add(bilevel.alpha_step(train, validation, epoch), "alpha")
            if epoch >= self.num_resting and self.eigenvalue_every and (epoch + 1) % self.eigenvalue_every == 0:
                record["eigenvalue"] = bilevel.eigenvalue(epoch)
            self._end_epoch(
                loop, bilevel, lr=current_rate(bilevel.weight_optimiser), **record, **objective.record(epoch)
            )
        before = self._before_growth(loop.history)
        if before is not None:
            supernet.set_alphas(before["alphas"])
        best = list(islice(ranked(supernet, self.max_skips), self.num_ranked))
        notes = {"cost": bilevel.price.notes(supernet, best[0][1])} if bilevel.price else {}
        return Found(best, loop.history, notes=notes)

    def _price(self, space: SearchSpace, objective: Objective, stage: Stage, device: torch.device) -> Price | None:
        if not self.cost_weight:
            return None
        size = next(iter(objective.alpha_batches(0))).images.shape[2:]
        costs = (
            MultiplyAdds.counted(space, *size)
            if self.cost == "multiply_adds"
            else latency_table(space, *size, device, stage.folder / TABLE, self.latency_table)
        )
        return Price(costs, self.cost_weight, self._target)

    def _before_growth(self, history: list[dict]) -> dict | None:
        """The line of history before the eigenvalue grew; None when it has not."""
        measured = [line for line in history if "eigenvalue" in line]
        grown = self.eigenvalue_growth is not None and has_grown(
            [line["eigenvalue"] for line in measured], self.eigenvalue_window, self.eigenvalue_growth
        )
        return measured[-1 - self.eigenvalue_window] if grown else None

    def _end_epoch(self, loop: Loop, bilevel: Bilevel, **record: object) -> None:
        supernet = bilevel.supernet
        before = self._before_growth([*loop.history, record])
        if before is not None:
            loop.stop(f"the eigenvalue has grown by {self.eigenvalue_growth}: derived from epoch {before['epoch']}")
        predicted = derive(supernet, self.max_skips)
        most = max(skips_by_cell(predicted).values(), default=0)
        if self.collapse_skips is not None and most >= self.collapse_skips and loop.epoch >= self.num_resting:
            loop.stop(f"a predicted cell has {most} identities")
        loop.limit(self.minutes)
        if bilevel.price:
            record |= bilevel.price.record(supernet, predicted)
        loop.end_epoch(
            **record,
            health=health(supernet, predicted),
            predicted=predicted.hash,
            decisions=predicted.to_dict()["decisions"],
            alphas=supernet.alphas(),
        )


class Bilevel:
    """The two steps of the bilevel problem on one supernet. Each computes only the gradients that it uses."""

    def __init__(
        self, strategy: DARTS, supernet: Supernet, objective: Objective, stage: Stage, price: Price | None = None
    ) -> None:
        self.price = price
        self.strategy = strategy
        self.supernet = supernet
        self.objective = objective
        self.stage = stage
        self.weights = list(supernet.net.parameters())
        self.weight_optimiser = strategy.weights.build(self.weights)
        self.alpha_optimiser = strategy.alphas.build([supernet.alpha])

    def alpha_loss(self, net: Supernet, batch: Batch, epoch: int) -> Losses:
        """The objective's loss for the alphas, and the price of the expected cost."""
        losses = self.objective.alpha_loss(net, batch, epoch)
        if self.price is None:
            return losses
        price = self.price(net)
        return {**losses, "price": price, "total": losses["total"] + price}

    def weight_step(self, batch: Batch, epoch: int) -> Losses:
        """One step of the weights on a training batch."""
        losses, gradients = self._gradients(self.objective.loss, batch, epoch, self.weights)
        step(self.weight_optimiser, gradients, self.strategy.clip)
        return losses

    def alpha_step(self, train: Batch, validation: Batch, epoch: int) -> Losses:
        """One step of the alphas on a validation batch; at second order through a weight step on `train`.

        Nothing else changes: neither the weights nor BatchNorm's running statistics.
        """
        with running_statistics_kept(self.supernet):
            if self.strategy.order == 1:
                losses, gradients = self._gradients(self.alpha_loss, validation, epoch, [self.supernet.alpha])
            else:
                losses, gradients = self.hypergradient(train, validation, epoch, current_rate(self.weight_optimiser))
        step(self.alpha_optimiser, gradients)
        return losses

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
        with holding(self.weights, stepped):
            losses, (direct, *vector) = self._gradients(self.alpha_loss, validation, epoch, [alpha, *self.weights])
        curved = [(gradient, v) for gradient, v in zip(graph, vector, strict=True) if gradient.requires_grad]
        through = torch.autograd.grad(
            [gradient for gradient, _ in curved], [alpha], [v for _, v in curved], materialize_grads=True
        )
        return losses, [direct - lr * self.stage.mean(list(through))[0]]

    def eigenvalue(self, epoch: int) -> float:
        """The largest eigenvalue of the Hessian of the validation loss by the alphas, on the first batch of `epoch`."""
        alpha, validation = self.supernet.alpha, next(iter(self.objective.alpha_batches(epoch)))
        with running_statistics_kept(self.supernet), only([alpha], self.supernet):
            with self.stage.autocast():
                total = self.alpha_loss(self.supernet, validation, epoch)["total"]
            (gradient,) = torch.autograd.grad(total, [alpha], create_graph=True)
            return largest_eigenvalue(
                lambda v: self.stage.mean(list(torch.autograd.grad(gradient, [alpha], v, retain_graph=True)))[0],
                torch.ones_like(alpha),
            )

    def _direction(self, gradients: list[Tensor]) -> list[Tensor]:
        """SGD's step for `gradients`, before the learning rate."""
        sgd = self.strategy.weights
        direction = torch._foreach_add(gradients, [w.detach() for w in self.weights], alpha=sgd.weight_decay)
        buffers = [self.weight_optimiser.state[w].get("momentum_buffer") for w in self.weights]
        if buffers[0] is not None:
            torch._foreach_add_(direction, buffers, alpha=sgd.momentum)
        return direction

    def _gradients(
        self, loss: Callable[..., Losses], batch: Batch, epoch: int, of: list[Tensor]
    ) -> tuple[Losses, list[Tensor]]:
        with only(of, self.supernet):
            with self.stage.autocast():
                losses = loss(self.supernet, batch, epoch)
            if not losses["total"].requires_grad:  # GDAS drew `none` wherever it mattered
                return losses, self.stage.mean([torch.zeros_like(each) for each in of])
            gradients = torch.autograd.grad(losses["total"], of, materialize_grads=True)
        return losses, self.stage.mean(list(gradients))


@contextmanager
def only(of: list[Tensor], net: nn.Module) -> Iterator[None]:
    """Lets only the parameters in `of` ask for a gradient, so that nothing is kept or computed for the others."""
    wanted = {id(parameter) for parameter in of}
    others = [p for p in net.parameters() if id(p) not in wanted and p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


@contextmanager
def holding(parameters: list[Tensor], values: list[Tensor]) -> Iterator[None]:
    """Lets the parameters hold other values for a while. A graph made outside is to be differentiated outside."""
    own = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value


@contextmanager
def running_statistics_kept(net: nn.Module) -> Iterator[None]:
    """Lets forward passes leave BatchNorm's running statistics as they are."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def health(supernet: Supernet, predicted: Architecture) -> dict[str, float]:
    """How a search is doing, from its alphas.

    `entropy`: mean over decisions of the softmax's entropy, 1 = undecided; `margin`: mean difference of the two
    largest weights; `skip_share`, `pool_share`: of the operations on the predicted architecture's edges.
    """
    weights = supernet.weights().detach()
    sizes = (~supernet.absent).sum(dim=1)
    entropy = torch.special.entr(weights).sum(dim=1) / sizes.log()
    top = weights.topk(2, dim=1).values
    ops = [
        parse_edge(edge)[0] for answer in predicted.decisions.values() if isinstance(answer, tuple) for edge in answer
    ] or list(predicted.decisions.values())
    return {
        "entropy": entropy.mean().item(),
        "margin": (top[:, 0] - top[:, 1]).mean().item(),
        "skip_share": ops.count("skip") / len(ops),
        "pool_share": sum(map(ops.count, POOLS)) / len(ops),
    }
