"""Strategies that propose one architecture after the other and learn from each one's score alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from nas.strategies.base import Found, Score, Scores, Stage, Strategy
from search_spaces.base import Architecture, SearchSpace


@dataclass(frozen=True)
class Tried:
    """An architecture with its score."""

    architecture: Architecture
    score: Score

    def to_dict(self) -> dict:
        return {"score": self.score.value, "cost": self.score.cost, "seconds": self.score.seconds,
                "architecture": self.architecture.to_dict()}

    @classmethod
    def from_dict(cls, line: dict) -> Tried:
        return cls(Architecture.from_dict(line["architecture"]), Score(line["score"], line["cost"], line["seconds"]))


Proposals = Generator[Architecture, Tried, None]
"""Yields an architecture, is sent how it did, and so on without end."""


@dataclass(frozen=True, kw_only=True)
class DiscreteSearch(Strategy):
    """A strategy that asks the objective for scores. A subclass says what to try next.

    A trial is what the stage's loop calls an epoch. An architecture that comes up again counts as a trial, but keeps
    its score and takes no time.
    """

    epochs: int = 10
    """Epochs that each trial trains."""
    trials: int = 100
    """The most architectures to try."""
    minutes: float | None = None
    """No trial begins after the trials took that long together."""
    num_ranked: int = 20
    """Length of the ranked list that a search ends with."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.trials, self.num_ranked) < 1 or not (self.minutes is None or self.minutes > 0):
            raise ValueError("epochs, trials and num_ranked must be at least 1, and minutes above 0 or None, not "
                             f"{self.epochs}, {self.trials}, {self.num_ranked} and {self.minutes}")

    @abstractmethod
    def proposals(self, space: SearchSpace, rng: np.random.Generator) -> Proposals:
        """What to try. The same `rng` and the same scores must give the same: a killed search is replayed."""

    def search(self, space: SearchSpace, objective: Scores, stage: Stage) -> Found:
        """Seeded by the seed that torch was given. Raises ValueError when the space leaves nothing open."""
        if not space.published().decisions:
            raise ValueError(f"{space.title} leaves nothing open: there is one architecture, and nothing to search")
        proposals = self.proposals(space, np.random.default_rng(torch.initial_seed()))
        loop = stage.loop(self.trials, 1, {})
        tried = _replayed(proposals, loop.history)
        scores = {trial.architecture: trial.score for trial in tried}
        for _ in loop.epochs():
            architecture = _next(proposals, tried)
            if architecture in scores:
                score = replace(scores[architecture], seconds=0.0)
            else:
                score = scores[architecture] = objective.score(architecture, self.epochs)
            tried.append(Tried(architecture, score))
            if self.minutes is not None and sum(trial.score.seconds for trial in tried) >= 60 * self.minutes:
                loop.stop(f"the trials took {self.minutes:g} minutes")
            loop.end_epoch(**tried[-1].to_dict(), best=max(score.value for score in scores.values()))
        return Found(ranked(tried)[: self.num_ranked], loop.history, front(tried))


def ranked(tried: Iterable[Tried]) -> list[tuple[float, Architecture]]:
    """Each architecture once, best first; of equally good ones the cheaper, then the earlier."""
    scores = {trial.architecture: trial.score for trial in tried}
    best = sorted(scores, key=lambda architecture: (-scores[architecture].value, scores[architecture].cost))
    return [(scores[architecture].value, architecture) for architecture in best]


def front(tried: Iterable[Tried]) -> list[tuple[float, float, Architecture]]:
    """Score, cost and architecture of those that no other beats in both, the cheapest first."""
    kept: list[tuple[float, float, Architecture]] = []
    for trial in sorted(tried, key=lambda trial: (trial.score.cost, -trial.score.value)):
        if not kept or trial.score.value > kept[-1][0]:
            kept.append((trial.score.value, trial.score.cost, trial.architecture))
    return kept


def _next(proposals: Proposals, tried: list[Tried]) -> Architecture:
    return proposals.send(tried[-1] if tried else None)


def _replayed(proposals: Proposals, history: Iterable[dict]) -> list[Tried]:
    """The trials of `history`, told to `proposals` one by one. Raises ValueError when it would have tried others."""
    tried: list[Tried] = []
    for line in history:
        trial = Tried.from_dict(line)
        if _next(proposals, tried) != trial.architecture:
            raise ValueError(f"the search cannot go on: trial {len(tried)} would be another one now, as if libraries "
                             "had other versions than before. Bring these back, or --overwrite to start again")
        tried.append(trial)
    return tried
