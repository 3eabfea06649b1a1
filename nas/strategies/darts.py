"""DARTS: weights and alphas by gradient, in turn (Liu et al., 2019; Algorithm 1 of KDAS-ReID)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch

from nas.losses.base import Losses
from nas.strategies.base import Loop, Objective, OneShotSearch, SearchResult, Stage
from nas.strategies.beta_decay import beta_decay
from nas.strategies.bilevel import Bilevel
from nas.strategies.cost_penalty import TABLE, CostPenalty, latency_table
from nas.strategies.health import health
from nas.strategies.hessian import has_grown
from nas.strategies.perturbation import Perturbation
from nas.training.optimisers import SGD, Adam, ConstantLR, CosineLR, Optimiser, current_rate
from search_spaces.cost.candidates import CandidateCosts, MultiplyAdds
from search_spaces.derive import derive, ranked, skips_by_cell
from search_spaces.ranges import ADDED, AboveOne, Count, CountOrZero, NonNegative, Positive
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class DARTS(OneShotSearch):
    """Searches by gradient in the space's supernet. The defaults are KDAS-ReID's search configuration (section 4.2.1).

    What the paper leaves open: momentum 0.9, Adam's betas (DARTS), clipping at norm 5 (DARTS). Each step updates the
    weights on a training batch, then the alphas on a validation batch (Algorithm 1).
    """

    draws: ClassVar[bool] = False
    """Whether each forward pass computes another network, drawn by chance."""
    epochs: Count = 200
    """Epochs of the search."""
    minutes: Positive | None = None
    """Minutes after which the search ends, with the current epoch; None: no limit. Learning rates and temperatures
    still follow `epochs`."""
    order: Literal[1, 2] = 1
    """Order of the alphas' gradient; 2: through one step of the weights (DARTS, Eq. 7)."""
    weights: Optimiser = field(default_factory=lambda: SGD(lr=0.1, rate=CosineLR(final=0.01)))
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=0.02, betas=(0.5, 0.999)))
    warmup_epochs: CountOrZero = 0
    """Epochs at the start in which the alphas are not trained."""
    clip: Positive | None = 5.0
    """Largest norm of the weights' gradient; None: it is not clipped."""
    max_skips: CountOrZero | None = None
    """Most skip connections (identity operations) in a derived cell of each kind; None: any number."""
    collapse_skips: Count | None = None
    """Skip connections in a predicted cell of any kind at which the search stops (DARTS+: 2); None: it never does."""
    eigenvalue_every: CountOrZero = 0
    """Epochs between measurements of the largest eigenvalue of the validation loss's Hessian with respect to the
    alphas; 0: never."""
    eigenvalue_growth: AboveOne | None = None
    """Factor by which the mean eigenvalue may grow from one window to the next. Beyond it, the search stops and uses
    the alphas from before the growth (RobustDARTS: 1.3); None: any."""
    eigenvalue_window: Count = 5
    """Measurements of the eigenvalue in a window (RobustDARTS)."""
    cost: Literal["multiply_adds", "latency_ms"] = "multiply_adds"
    """Cost that `cost_weight` weighs: MACs, or the time for one image in the search's
    runtime on this machine."""
    cost_weight: NonNegative = 0.0
    """Weight of the expected cost of one image in the alphas' loss, for each 10^9 MACs or each ms; 0: the cost is
    ignored."""
    target_multiply_adds: Positive | None = None
    """MACs to aim for: `cost_weight` then weighs the relative distance from them; None: no target."""
    target_latency_ms: Positive | None = None
    """Time for one image to aim for, in ms: `cost_weight` then weighs the relative distance from it; None: no
    target."""
    latency_table: Path | None = None
    """File of the candidates' times, read if it exists, else written, so that several runs share them; None: each run
    measures its own."""
    num_ranked: Count = 20
    """Length of the ranked list that a search ends with."""
    beta_decay: NonNegative = field(default=0.0, metadata=ADDED)
    """Weight of beta-decay in the alphas' loss in the last epoch, to which it rises linearly from 0 (beta-DARTS: 50);
    0: none."""
    selection: Literal["alphas", "perturbation"] = field(default="alphas", metadata=ADDED)
    """What decides at the end: the alphas, or what the supernet loses without each candidate (DARTS-PT)."""
    tuning_epochs: Count = field(default=5, metadata=ADDED)
    """Epochs in which the weights are trained on between two decisions of the selection by perturbation."""
    tuning_rate: Positive = field(default=0.1, metadata=ADDED)
    """Factor on the weights' learning rate in these epochs."""
    folded: bool = True
    """Whether mixed operations use the form that needs less memory for the backward pass; the result is the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_resting >= self.epochs:
            raise self.out_of_range("warmup_epochs", f"be below epochs, {self.epochs}")
        if self.draws and (self.order != 1 or self.eigenvalue_every):
            raise ValueError(
                f"{type(self).__name__} draws another network in each forward pass, so second derivatives mean "
                "nothing: use order=1 and eigenvalue_every=0, or DARTS"
            )
        if self.order == 2 and not isinstance(self.weights, SGD):
            raise ValueError("order=2 differentiates through a step of SGD: use SGD for the weights, or order=1")
        if self.eigenvalue_growth is not None and not self.eigenvalue_every:
            raise self.out_of_range("eigenvalue_every", "be at least 1 where eigenvalue_growth is given")
        for name in ("max_skips", "collapse_skips", "eigenvalue_growth"):
            if self.selection == "perturbation" and getattr(self, name) is not None:
                raise self.out_of_range(name, "be None where selection is by perturbation, which it would forestall")
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
        if self._target is not None and not self.cost_weight:
            raise self.out_of_range("cost_weight", f"be above 0 where target_{self.cost} is given")
        if self.cost == "latency_ms" and not self.cost_weight:
            raise ValueError("cost='latency_ms' needs a cost_weight above 0: without it no time is measured")

    @property
    def _target(self) -> float | None:
        return self.target_latency_ms if self.cost == "latency_ms" else self.target_multiply_adds

    @property
    def num_resting(self) -> int:
        """Epochs at the start in which the alphas are not trained."""
        return self.warmup_epochs

    @property
    def no_graphs(self) -> str:
        """Why its steps cannot be CUDA graphs; empty: they can."""
        if self.beta_decay:
            return "the weight of beta-decay is another number in each epoch"
        return "a step of second order needs the learning rate as a number" if self.order == 2 else ""

    def supernet(self, space: SearchSpace) -> Supernet:
        """The network that is searched. Raises ValueError naming what this strategy cannot decide in `space`."""
        return Supernet.of(space, folded=self.folded)

    def small(self) -> Self:
        return replace(self, epochs=2, warmup_epochs=0, tuning_epochs=1)

    def check(self, space: SearchSpace) -> None:
        with torch.device("meta"):
            self.supernet(space)

    def begin_epoch(self, supernet: Supernet, epoch: int) -> dict[str, float]:
        """Sets what changes from epoch to epoch, and says it for the history; in DARTS nothing does."""
        return {}

    def penalties(self, supernet: Supernet, epoch: int) -> Losses:
        """What is added to the alphas' loss, by name."""
        if not self.beta_decay:
            return {}
        weight = self.beta_decay * epoch / max(self.epochs - 1, 1)
        return {"beta_decay": weight * beta_decay(supernet.alpha, supernet.absent)}

    def bilevel(self, supernet: Supernet, objective: Objective, stage: Stage, price: CostPenalty | None) -> Bilevel:
        """What takes the steps of the weights and of the alphas."""
        return Bilevel(self, supernet, objective, stage, price)

    def search(self, space: SearchSpace, objective: Objective, stage: Stage) -> SearchResult:
        supernet = stage.prepare(self.supernet(space))
        bilevel = self.bilevel(supernet, objective, stage, self._price(space, objective, stage))
        parts: dict[str, Any] = {
            "supernet": supernet,
            "weights": bilevel.weight_optimiser,
            "alphas": bilevel.alpha_optimiser,
        }
        selection = Perturbation(supernet) if self.selection == "perturbation" else None
        num_tuned = 0
        if selection:
            parts["selection"] = selection
            num_tuned = (len(selection) - 1) * self.tuning_epochs
        loop = stage.loop(self.epochs + num_tuned, objective.num_steps, parts)
        bilevel.replay(stage.graphs(self.no_graphs))
        for epoch in loop.epochs():
            supernet.train()
            record = self._epoch(loop, bilevel, objective, self._like(epoch))
            if selection and epoch + 1 >= self.epochs and (epoch + 1 - self.epochs) % self.tuning_epochs == 0:
                number = (epoch + 1 - self.epochs) // self.tuning_epochs
                measure = partial(bilevel.mean_alpha_loss, self._like(epoch))
                record["loss_without"] = selection.decide(supernet, number, measure)
            self._end_epoch(loop, bilevel, lr=current_rate(bilevel.weight_optimiser), **record)
        before = self._before_growth(loop.history)
        if before is not None:
            supernet.set_alphas(before["alphas"])
        best = list(islice(ranked(supernet, self.max_skips), self.num_ranked))
        notes = {"cost": bilevel.price.notes(supernet, best[0][1])} if bilevel.price else {}
        return SearchResult(best, loop.history, notes=notes)

    def _like(self, epoch: int) -> int:
        """The epoch of the search whose batches and losses `epoch` has: those behind the search repeat its last."""
        tuned = epoch - self.epochs
        return epoch if tuned < 0 else self.epochs - 1 - tuned % min(self.tuning_epochs, self.epochs)

    def _epoch(self, loop: Loop, bilevel: Bilevel, objective: Objective, epoch: int) -> dict[str, object]:
        """The steps of an epoch that is like `epoch` of the search, and what its line of history says."""
        record: dict[str, object] = {**self.begin_epoch(bilevel.supernet, epoch)}
        is_tuned = loop.epoch >= self.epochs
        learns = self.num_resting <= epoch and not is_tuned
        weights = replace(self.weights, lr=self.tuning_rate * self.weights.lr, rate=ConstantLR())
        for train, validation in loop.steps(
            lambda start: zip(
                objective.weight_batches(epoch, start), objective.alpha_batches(epoch, start), strict=True
            )
        ):
            (weights if is_tuned else self.weights).set_rate(bilevel.weight_optimiser, loop.now, self.epochs)
            self.alphas.set_rate(bilevel.alpha_optimiser, loop.now, self.epochs)
            if learns and self.order == 2:
                loop.add(bilevel.alpha_step(train, validation, epoch), "alpha")
            loop.add(bilevel.weight_step(train, epoch), "weight")
            if learns and self.order == 1:
                loop.add(bilevel.alpha_step(train, validation, epoch), "alpha")
        if learns and self.eigenvalue_every and (epoch + 1) % self.eigenvalue_every == 0:
            record["eigenvalue"] = bilevel.eigenvalue(epoch)
        return {**record, **objective.record(epoch)}

    def _price(self, space: SearchSpace, objective: Objective, stage: Stage) -> CostPenalty | None:
        if not self.cost_weight:
            return None
        height, width = next(iter(objective.alpha_batches(0))).images.shape[2:]
        costs: CandidateCosts = (
            MultiplyAdds.counted(space, height, width)
            if self.cost == "multiply_adds"
            else latency_table(space, height, width, objective.deployment(), stage.folder / TABLE, self.latency_table)
        )
        return CostPenalty(costs, self.cost_weight, self._target)

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
