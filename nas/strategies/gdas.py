"""GDAS: one operation of each decision is drawn and computed (Dong & Yang, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nas.strategies.darts import DARTS
from nas.training.optimisers import Adam, Optimiser
from search_spaces.ranges import Positive
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class GDAS(DARTS):
    """Searches by gradient through one drawn path: the memory and time of one operation for each decision.

    The alphas' Adam and the temperatures are the paper's (section 4.1); the weights' SGD is DARTS's here.
    """

    draws: ClassVar[bool] = True
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3))
    first_tau: Positive = 10.0
    """Temperature of the Gumbel-softmax in the first epoch, from which it falls linearly."""
    last_tau: Positive = 0.1
    """Temperature of the Gumbel-softmax in the last epoch."""

    @property
    def no_graphs(self) -> str:
        return "what GDAS draws decides what is computed"

    def supernet(self, space: SearchSpace) -> DrawnSupernet:
        return DrawnSupernet.of(space, folded=self.folded)

    def begin_epoch(self, supernet: Supernet, epoch: int) -> dict[str, float]:
        assert isinstance(supernet, DrawnSupernet)
        done = epoch / max(self.epochs - 1, 1)
        supernet.tau = self.first_tau + (self.last_tau - self.first_tau) * done
        return {"tau": supernet.tau}


class DrawnSupernet(Supernet):
    """A supernet whose forward pass computes one candidate of each decision, drawn anew each time."""

    tau = 1.0

    def mixing(self) -> Sequence[Sequence[Tensor | None]]:
        """The weight of the drawn candidate, which is 1, and None for all others.

        Its gradient is that of its softmax weight `softmax((alpha + gumbel) / tau)` (Eq. 3 to 5; `log pi` is alpha but
        for a constant). Deviation: the authors' code also adds the others' weights, which are 0, to the map: their
        gradients say nothing of the others. Processes that search together draw the same.
        """
        if self._given is not None:
            return super().mixing()
        noise = -torch.empty(self.alpha.shape).exponential_().log()  # by the CPU's generator: checkpoints keep it
        logits = (self.alpha + noise.to(self.alpha)).masked_fill(self.absent, -torch.inf)
        soft = torch.softmax(logits / self.tau, dim=1)
        share, drawn = soft.max(dim=1)
        ones = (share - share.detach() + 1).unbind()
        return [
            [one if place == chosen else None for place in range(soft.shape[1])]
            for one, chosen in zip(ones, drawn.tolist(), strict=True)
        ]
