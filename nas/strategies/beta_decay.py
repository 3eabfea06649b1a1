"""Beta-decay: the softmax weights of a search by gradient are kept from drifting apart (Ye et al. 2022, beta-DARTS)."""

from __future__ import annotations

import torch
from torch import Tensor


def beta_decay(alpha: Tensor, absent: Tensor) -> Tensor:
    """The mean over decisions of `log sum_o exp(alpha_o)`, whose gradient is the softmax weight of each option: a decay
    that is the stronger the larger a weight has grown.

    alpha: `[num_decisions, num_options]`; absent: which places of it are padding.
    """
    return alpha.masked_fill(absent, -torch.inf).logsumexp(dim=1).mean()
