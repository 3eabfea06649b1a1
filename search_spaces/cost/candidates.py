"""What each candidate costs, and from that what the alphas of a supernet lead to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Self, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.architecture import Answer, Architecture, parse_edge
from search_spaces.cost.counting import cost
from search_spaces.relaxed import NONE, MixedOp, Supernet, rows_of_edges
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class CandidateCosts(ABC):
    """The cost of one `height x width` image in each of a space's networks: what all share, and each candidate's own.

    A candidate is counted wherever it stands; `none` costs nothing.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    per_weight: ClassVar[float]
    """How many units a search's `cost_weight` is for."""

    space: SearchSpace
    height: int
    width: int
    nodes: Mapping[str, tuple[Mapping[int, str], int]]
    """A supernet's: by question, the decision of each input and how many inputs are kept."""
    of: Mapping[str, Mapping[str, float]]
    """By decision and option."""
    fixed: float
    """What all networks of the space share."""

    @abstractmethod
    def real(self, architecture: Architecture) -> float:
        """That of the architecture's student itself."""

    def multiply_adds(self, architecture: Architecture) -> int:
        """Those of the architecture's student."""
        with torch.device("meta"):
            student = self.space.student(architecture)
        return cost(student, self.height, self.width).multiply_adds

    def predicted(self, architecture: Architecture) -> float:
        """The sum of what the architecture decides."""
        return self.fixed + sum(self.of[row][op] for row, op in self._chosen(architecture.decisions))

    def expected(self, supernet: Supernet) -> Tensor:
        """The mean over all architectures, each as likely as the product of its strengths, which they are ranked by.

        Strengths are the supernet's weights, in PC-DARTS those of the edges too. So each node counts the inputs that it
        will keep, not all that the supernet computes.
        """
        log = supernet.log_weights()
        on_edges = rows_of_edges(self.nodes)
        never = supernet.absent.clone()  # chosen by no architecture: padding, and `none` on the edges of nodes
        for row, (name, options) in enumerate(supernet.options.items()):
            if name in on_edges:
                never[row, options.index(NONE)] = True
        chosen = log.masked_fill(never, -torch.inf)
        costs = [list(self.of.get(name, {}).values()) for name in supernet.options]
        table = log.new_tensor([row + [0.0] * (log.shape[1] - len(row)) for row in costs])
        means, strengths = (chosen.softmax(dim=1) * table).sum(dim=1), chosen.logsumexp(dim=1)
        place = {name: number for number, name in enumerate(supernet.options)}
        total = self.fixed + means[[place[name] for name in self.of if name not in on_edges]].sum()
        for node, (rows, keep) in self.nodes.items():
            edges = [place[row] for row in rows.values()]
            strength, mean = strengths[edges], means[edges]
            if f"{node}.inputs" in place:
                strength = strength + log[place[f"{node}.inputs"], : len(edges)]
            kept = torch.tensor(list(combinations(range(len(edges)), keep)), device=log.device)
            total = total + strength[kept].sum(dim=1).softmax(dim=0) @ mean[kept].sum(dim=1)
        return total

    def bounds(self) -> tuple[float, float]:
        """The least and the most of any architecture."""
        return self._extreme(min), self._extreme(max)

    def _extreme(self, best: Callable[[Iterable[float]], float]) -> float:
        of = {name: dict(row) for name, row in self.of.items()}
        total = self.fixed
        for rows, keep in self.nodes.values():
            edges = [best(count for op, count in of.pop(row).items() if op != NONE) for row in rows.values()]
            total += sum(sorted(edges, reverse=best is max)[:keep])
        return total + sum(best(row.values()) for row in of.values())

    def _chosen(self, decisions: Mapping[str, Answer]) -> list[tuple[str, str]]:
        """The decision and option of every operation."""
        single = [(name, str(answer)) for name, answer in decisions.items() if name not in self.nodes]
        on_edges = [
            (rows[source], op)
            for name, (rows, _) in self.nodes.items()
            for op, source in map(parse_edge, cast(tuple[str, ...], decisions[name]))
        ]
        return single + on_edges


class MultiplyAdds(CandidateCosts):
    """Multiply-adds, as `cost.counting` counts them: those of a student are exactly the sum of its candidates'."""

    name = "multiply_adds"
    unit = "multiply-adds"
    per_weight = 1e9

    @classmethod
    def counted(cls, space: SearchSpace, height: int, width: int) -> Self:
        counter = FlopCounterMode(display=False)
        with torch.device("meta"), torch.no_grad():
            supernet = Supernet.of(space, folded=False).eval()
            with counter:
                supernet(torch.empty(1, 3, height, width))
        names, flops = list(supernet.options), counter.get_flop_counts()
        of = {name: dict.fromkeys(options, 0) for name, options in supernet.options.items()}
        for path, module in supernet.named_modules():
            if isinstance(module, MixedOp):
                row = of[names[module.row]]
                for place, option in zip(range(len(module.ops)), row, strict=False):
                    row[option] += sum(flops.get(f"Supernet.{path}.ops.{place}", {}).values()) // 2
        fixed = counter.get_total_flops() // 2 - sum(sum(row.values()) for row in of.values())
        return cls(space=space, height=height, width=width, nodes=supernet.nodes, of=of, fixed=fixed)

    def real(self, architecture: Architecture) -> int:
        return self.multiply_adds(architecture)
