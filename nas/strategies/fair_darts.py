"""FairDARTS: the candidates of a decision do not compete, each has a sigmoid of its own (Chu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.losses.base import Losses
from nas.strategies.darts import DARTS
from search_spaces.ranges import NonNegative
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class FairDARTS(DARTS):
    """Searches by gradient with sigmoid weights, which the zero-one loss drives to either end.

    Deviations: a node keeps as many inputs as the space says, its strongest, where the paper keeps at most two above a
    threshold of 0.85; and the epochs and optimisers are DARTS's here.
    """

    zero_one: NonNegative = 10.0
    """Weight of the zero-one loss in the alphas' loss (the paper: 10)."""

    def supernet(self, space: SearchSpace) -> FairSupernet:
        return FairSupernet.of(space, folded=self.folded)

    def penalties(self, supernet: Supernet, epoch: int) -> Losses:
        zero_one = self.zero_one * zero_one_loss(supernet.weights()[~supernet.absent])
        return {**super().penalties(supernet, epoch), "zero_one": zero_one}


def zero_one_loss(weights: Tensor) -> Tensor:
    """`-mean((weight - 0.5)^2)`, least where each weight is 0 or 1.

    weights: sigmoids, of any shape.
    """
    return -(weights - 0.5).square().mean()


class FairSupernet(Supernet):
    """A supernet whose candidates are weighted by `sigmoid(alpha)`: any number of a decision's may be strong.

    `none` on an edge has a weight too, which weighs nothing.
    """

    def weights_of_alpha(self) -> Tensor:
        return torch.sigmoid(self.alpha).masked_fill(self.absent, 0.0)

    def log_weights(self) -> Tensor:
        return F.logsigmoid(self.alpha)

    def alpha_of_weights(self, weights: Tensor) -> Tensor:
        return torch.logit(weights)
