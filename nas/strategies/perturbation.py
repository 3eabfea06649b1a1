"""DARTS-PT: a supernet is decided by what it loses without each candidate, not by its alphas (Wang et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from search_spaces.relaxed import NONE, MixedOp, Supernet, rows_of_edges

Measure = Callable[[], float]
"""The supernet's loss as it is now; less is better."""


class Perturbation(nn.Module):
    """Decides the questions of a trained supernet one after the other, in an order drawn by chance: first the operation
    of each mixed operation, then which inputs each node keeps (Algorithm 1).

    A candidate's strength is the loss without it: its weight is 0, the others' are as they were. Deviation: the paper
    takes the accuracy.
    """

    order: Tensor
    """The questions' places among operations and nodes `[num_questions]`; a checkpoint keeps it."""

    def __init__(self, supernet: Supernet) -> None:
        super().__init__()
        rows = {module.row for module in supernet.modules() if isinstance(module, MixedOp)}
        ops = [name for place, name in enumerate(supernet.options) if place in rows]
        nodes = [name for name, (edges, keep) in supernet.nodes.items() if keep < len(edges)]
        self.questions = [*ops, *nodes]
        shuffled = [torch.randperm(len(ops)), len(ops) + torch.randperm(len(nodes))]
        self.register_buffer("order", torch.cat(shuffled))

    def __len__(self) -> int:
        return len(self.questions)

    def decide(self, supernet: Supernet, number: int, measure: Measure) -> dict[str, dict[str, float]]:
        """Decides the question of this number in the alphas. By the question, the loss without each candidate."""
        name = self.questions[int(self.order[number])]
        decide = _keep_inputs if name in supernet.nodes else _choose_operation
        return {name: decide(supernet, name, measure)}


def _choose_operation(supernet: Supernet, name: str, measure: Measure) -> dict[str, float]:
    on_edge = name in rows_of_edges(supernet.nodes)
    candidates = {op: place for place, op in enumerate(supernet.options[name]) if not (on_edge and op == NONE)}
    row = list(supernet.options).index(name)
    losses = {op: _without(supernet, row, place, measure) for op, place in candidates.items()}
    _decide(supernet, name, max(losses, key=losses.__getitem__))
    return losses


def _keep_inputs(supernet: Supernet, name: str, measure: Measure) -> dict[str, float]:
    edges, keep = supernet.nodes[name]
    places = list(supernet.options)
    losses = {edge: _without(supernet, places.index(edge), slice(None), measure) for edge in edges.values()}
    for edge in sorted(losses, key=losses.__getitem__)[: len(losses) - keep]:
        _decide(supernet, edge, NONE)
    return losses


def _without(supernet: Supernet, row: int, place: int | slice, measure: Measure) -> float:
    weights = supernet.weights().detach().clone()
    weights[row, place] = 0.0
    with supernet.weighted_with(weights):
        return measure()


def _decide(supernet: Supernet, name: str, chosen: str) -> None:
    decided: Mapping[str, float] = {option: float(option == chosen) for option in supernet.options[name]}
    supernet.set_alphas({name: decided})
