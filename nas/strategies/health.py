"""How a search by gradient is doing."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from search_spaces.architecture import Answer, Architecture, parse_edge

POOLS = ("max3", "avg3")


class Weighted(Protocol):
    """A supernet with alphas, ours or NNI's."""

    absent: Tensor
    """Which places of `weights` are padding."""

    def weights(self) -> Tensor:
        """What the options of each decision are weighted with `[num_decisions, num_options]`; padding is 0."""


def health(supernet: Weighted, predicted: Architecture) -> dict[str, float]:
    """How a search is doing, from its alphas.

    `entropy`: mean over decisions of the entropy of the weights' shares, 1 = undecided; `margin`: mean difference of
    the two largest weights; `skip_share`, `pool_share`: of the operations on the predicted architecture's edges.
    """
    weights = supernet.weights().detach()
    sizes = (~supernet.absent).sum(dim=1)
    entropy = torch.special.entr(normalize(weights, p=1.0, dim=1)).sum(dim=1) / sizes.log()
    top = weights.topk(2, dim=1).values
    answers = list(predicted.decisions.values())
    on_edges = [parse_edge(edge)[0] for answer in answers if isinstance(answer, tuple) for edge in answer]
    ops = list[Answer](on_edges) or answers
    return {
        "entropy": entropy.mean().item(),
        "margin": (top[:, 0] - top[:, 1]).mean().item(),
        "skip_share": ops.count("skip") / len(ops),
        "pool_share": sum(map(ops.count, POOLS)) / len(ops),
    }
