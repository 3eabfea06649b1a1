"""What derives from a supernet's alphas: architectures, the best first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch

from search_spaces.architecture import Answer, Architecture, all_edges, parse_edge
from search_spaces.relaxed import NONE, rows_of_edges


class Derivable(Protocol):
    """What architectures derive from: our supernets, and NNI's."""

    @property
    def space(self) -> str:
        """The name of the space's class."""

    @property
    def decided(self) -> Mapping[str, Answer]:
        """What was decided before."""

    @property
    def nodes(self) -> Mapping[str, tuple[Mapping[int, str], int]]:
        """By node, the decision on the edge from each input, and how many inputs are kept."""

    def strengths(self) -> dict[str, dict[str, float]]:
        """By decision how strong each option is, from 0 to 1; a decision on an edge has the option `none`."""


def derive(supernet: Derivable, max_skips: int | None = None) -> Architecture:
    """The architecture that the alphas prefer: per node the inputs with the strongest non-zero operation (DARTS).

    `max_skips` caps the identities of each kind of cell: the weakest are given up, one by one, for the next best.
    """
    return next(ranked(supernet, max_skips))[1]


def ranked(supernet: Derivable, max_skips: int | None = None) -> Iterator[tuple[float, Architecture]]:
    """Architectures with the log of the product of their strengths (softmax weights), best first; the best is DARTS's.

    None has more than `max_skips` identities in a kind of cell.
    """
    alphas = supernet.strengths()
    if max_skips is None:
        return _ranked(alphas, supernet)
    return (
        (score, architecture)
        for score, architecture in _ranked(_capped(alphas, supernet, max_skips), supernet)
        if max(skips_by_cell(architecture).values(), default=0) <= max_skips
    )


def skips_by_cell(architecture: Architecture) -> dict[str, int]:
    """Identities on the edges of each kind of cell."""
    return {cell: len(edges) for cell, edges in _skips(architecture).items()}


def _skips(architecture: Architecture) -> dict[str, list[str]]:
    """By kind of cell, the edges with an identity, each as `node<input`.

    Edges are what a node answers, or questions of their own that have such a name (NAS-Bench-201).
    """
    skips: dict[str, list[str]] = {}
    for name, answer in architecture.decisions.items():
        if isinstance(answer, tuple) or "<" in name:
            ops = (
                {f"{name}<{source}": op for op, source in map(parse_edge, answer)}
                if isinstance(answer, tuple)
                else {name: answer}
            )
            edges = skips.setdefault(name.partition("<")[0].rpartition(".")[0], [])
            edges.extend(edge for edge, op in ops.items() if op == "skip")
    return skips


def _ranked(alphas: Mapping[str, Mapping[str, float]], supernet: Derivable) -> Iterator[tuple[float, Architecture]]:
    questions = _scored_answers(alphas, supernet)
    names = list(questions)
    for score, places in _best_combinations([[score for score, _ in questions[name]] for name in names]):
        answers = {name: questions[name][place][1] for name, place in zip(names, places, strict=True)}
        yield score, Architecture(supernet.space, {**supernet.decided, **answers})


def _scored_answers(
    alphas: Mapping[str, Mapping[str, float]], supernet: Derivable
) -> dict[str, list[tuple[float, Answer]]]:
    """For each question its answers with their log weight, best first; ties in the order of the space."""
    log = {
        name: {op: math.log(weight) if weight > 0 else -math.inf for op, weight in options.items()}
        for name, options in alphas.items()
    }
    on_edges = rows_of_edges(supernet.nodes)
    questions: dict[str, list[tuple[float, Answer]]] = {
        name: [(score, op) for op, score in log[name].items()] for name in log if name not in on_edges
    }
    for name, (rows, keep) in supernet.nodes.items():
        offered = {source: [op for op in log[row] if op != NONE] for source, row in rows.items()}
        questions[name] = [
            (sum(log[rows[source]][op] for op, source in map(parse_edge, answer)), answer)
            for answer in all_edges(offered, keep)
        ]
    return {name: sorted(answers, key=lambda pair: -pair[0]) for name, answers in questions.items()}


def _best_combinations(scores: list[list[float]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """One place in each descending list, by descending sum of the scores at those places, lazily."""
    start = (0,) * len(scores)
    heap = [(-sum(column[0] for column in scores), start)]
    seen = {start}
    while heap:
        negative, places = heapq.heappop(heap)
        yield -negative, places
        for i, place in enumerate(places):
            following = (*places[:i], place + 1, *places[i + 1 :])
            if place + 1 < len(scores[i]) and following not in seen and scores[i][place + 1] > -torch.inf:
                seen.add(following)
                total = sum(column[p] for column, p in zip(scores, following, strict=True))
                heapq.heappush(heap, (-total, following))


def _capped(
    alphas: Mapping[str, Mapping[str, float]], supernet: Derivable, max_skips: int
) -> dict[str, dict[str, float]]:
    """The alphas with the weakest chosen identities at 0, until no kind of cell derives more than `max_skips`."""
    capped = {name: dict(options) for name, options in alphas.items()}
    while True:
        skips = _skips(next(_ranked(capped, supernet))[1])
        over = [edge for edges in skips.values() if len(edges) > max_skips for edge in edges]
        if not over:
            return capped
        strengths = {edge: capped[edge]["skip"] for edge in over if edge in capped and capped[edge]["skip"] > 0}
        if not strengths:
            raise ValueError(f"no architecture has at most {max_skips} identities: {over[0]} offers nothing else")
        capped[min(strengths, key=strengths.__getitem__)]["skip"] = 0.0
