"""DrNAS: a decision's weights are drawn from a Dirichlet distribution, which is what is learnt (Chen et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from torch.distributions import Gamma
from torch.nn import functional as F

from nas.strategies.darts import DARTS
from nas.training.optimisers import Adam, Optimiser
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace

LEAST = 1e-6
"""The least concentration to draw with and to take the logarithm of: at 0 there is neither."""


@dataclass(frozen=True, kw_only=True)
class DrNAS(DARTS):
    """Searches by gradient through weights that each forward pass draws from a Dirichlet distribution.

    The alphas' Adam is the paper's; its weight decay is the distance from the flat distribution that the paper adds to
    the loss. Deviation: one stage, on all channels; the paper's progressive scheme is left out.
    """

    draws: ClassVar[bool] = True
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3))

    @property
    def no_graphs(self) -> str:
        return "DrNAS draws its weights on the CPU"

    def supernet(self, space: SearchSpace) -> DirichletSupernet:
        return DirichletSupernet.of(space, folded=self.folded)


class DirichletSupernet(Supernet):
    """A supernet whose weights are `theta ~ Dirichlet(elu(alpha) + 1)`, drawn anew in each forward pass."""

    def concentrations(self) -> Tensor:
        """`[num_decisions, num_options]`; padding is 0."""
        return (F.elu(self.alpha) + 1).masked_fill(self.absent, 0.0)

    def mixing(self) -> Sequence[Sequence[Tensor | None]]:
        """A Dirichlet variate is a row of Gamma variates over their sum; its gradient goes through theirs (pathwise).

        Drawn by the CPU's generator, which checkpoints keep; processes that search together draw the same.
        """
        if self._given is not None:
            return super().mixing()
        drawn = Gamma(self.concentrations().cpu().clamp(min=LEAST), 1.0).rsample().to(self.alpha.device)
        drawn = drawn.masked_fill(self.absent, 0.0)
        with self.weighted_with(drawn / drawn.sum(dim=1, keepdim=True)):
            return super().mixing()

    def weights_of_alpha(self) -> Tensor:
        """The mean of the distribution."""
        concentrations = self.concentrations()
        return concentrations / concentrations.sum(dim=1, keepdim=True)

    def log_weights(self) -> Tensor:
        log = self.concentrations().clamp(min=LEAST).log()
        return log - log.logsumexp(dim=1, keepdim=True)
