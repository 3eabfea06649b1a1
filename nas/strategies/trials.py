"""Trials: what a proposer of architectures says, what it is told, and what a search ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from nas.metrics import front as pareto
from nas.strategies.base import Score, SearchResult
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Proposal:
    """An architecture to try."""

    architecture: Architecture
    notes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Plain JSON data that the proposer wants to find again in the trial."""


@dataclass(frozen=True)
class Trial:
    """An architecture with its score."""

    number: int
    """Place among the proposals, from 0."""
    architecture: Architecture
    score: Score
    notes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The proposal's."""

    def to_dict(self) -> dict:
        """A line of the history, which has no number and no notes."""
        pruned = {"pruned": True} if self.score.pruned else {}
        further = {"further": dict(self.score.further)} if self.score.further else {}
        return {
            "score": self.score.value,
            "cost": self.score.cost,
            **further,
            "seconds": self.score.seconds,
            **pruned,
            "architecture": self.architecture.to_dict(),
        }

    @classmethod
    def from_dict(cls, line: Mapping, number: int) -> Trial:
        pruned, further = line.get("pruned", False), line.get("further", {})
        score = Score(line["score"], line["cost"], line["seconds"], pruned, further=further)
        return cls(number, Architecture.from_dict(line["architecture"]), score)


class Proposer(Protocol):
    """Says what to try next, as a pure function: the same arguments lead to the same proposal, in any process."""

    def propose(
        self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator
    ) -> Proposal | None:
        """What trial `number` tries; None when all there is has been tried.

        told: the trials that have ended, in the order in which they did; any others may still be under way. rng: all of
        the proposal's chance, `numpy.random.default_rng([seed, number])`.
        """


def known(architecture: Architecture, tried: Iterable[Trial]) -> Score | None:
    """The score of an architecture that was tried before: it takes no time now."""
    return next((replace(trial.score, seconds=0.0) for trial in tried if trial.architecture == architecture), None)


def found(tried: Sequence[Trial], history: list[dict], num_ranked: int) -> SearchResult:
    """The end of a search that tried these."""
    costs = {trial.architecture: trial.score.cost for trial in tried}
    return SearchResult(ranked(tried)[:num_ranked], history, front(tried), "mAP", costs, further_of(tried))


def further_of(tried: Iterable[Trial]) -> dict[Architecture, Mapping[str, float]]:
    """What else was to be large of those that say it."""
    return {trial.architecture: trial.score.further for trial in tried if trial.score.further}


def ranked(tried: Iterable[Trial]) -> list[tuple[float, Architecture]]:
    """Each architecture once, best first; of equally good ones the cheaper, then the earlier.

    Those that were stopped early come behind all others, as their values are of then.
    """
    scores = {trial.architecture: trial.score for trial in tried}
    best = sorted(scores, key=lambda each: (scores[each].pruned, -scores[each].value, scores[each].cost))
    return [(scores[architecture].value, architecture) for architecture in best]


def front(tried: Iterable[Trial]) -> list[tuple[float, float, Architecture]]:
    """Score, cost and architecture of those that no other beats in both, and in what is further, the cheapest first;
    none was stopped early."""
    whole = [trial for trial in tried if not trial.score.pruned]
    points = [(trial.score.cost, trial.score.value, *trial.score.further.values()) for trial in whole]
    best = pareto.front(*np.array(points).T) if points else np.array([], dtype=bool)
    first: dict[tuple[float, ...], Trial] = {}
    for trial, point, is_best in zip(whole, points, best, strict=True):
        if is_best:
            first.setdefault(point, trial)
    return [(point[1], point[0], first[point].architecture) for point in sorted(first)]
