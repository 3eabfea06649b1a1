"""Strategies that propose one architecture after the other and learn from each one's score alone."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import torch

from nas.strategies.base import Loop, Scores, SearchResult, Stage, Strategy
from nas.strategies.board import Board, Proposer, Trial, known
from nas.strategies.halving import Halving
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, Positive, TwoOrMore
from search_spaces.space import SearchSpace

POLL_S = 1.0
"""Between looks at whether other workers are done."""


@dataclass(frozen=True, kw_only=True)
class DiscreteSearch(Strategy):
    """A strategy that asks the objective for scores. A subclass says what to try next.

    A trial is what the stage's loop calls an epoch. An architecture that comes up again counts as a trial, but keeps
    its score and takes no time. Several processes with the same journal share the trials; alone, the seed decides all.
    """

    by_trials: ClassVar[bool] = True
    epochs: Count = 10
    """Epochs that each trial trains."""
    trials: Count = 100
    """Most architectures to try."""
    minutes: Positive | None = None
    """Minutes of all trials together after which no further one begins; None: no limit."""
    pruning: Literal["none", "halving", "hyperband"] = "none"
    """How a trial that is poor on its way stops early, if it does; its value of then is what the strategy learns
    from."""
    factor: TwoOrMore = 3
    """Factor of successive halving: one of so many trials goes on."""
    num_ranked: Count = 20
    """Length of the ranked list that a search ends with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pruning != "none" and self.epochs < 2:
            raise ValueError(
                f"--strategy.pruning {self.pruning} stops trials after their first epoch or later, and "
                "each has one: give --strategy.epochs 2 or more"
            )

    @abstractmethod
    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Proposer:
        """What says which architecture to try. All its chance must come from `rng`."""

    def small(self) -> Self:
        return replace(self, epochs=2, trials=3)

    def check(self, space: SearchSpace) -> None:
        if not space.published().decisions:
            raise ValueError(f"{space.title} leaves nothing open: there is one architecture, and nothing to search")

    def search(self, space: SearchSpace, objective: Scores, stage: Stage) -> SearchResult:
        """Seeded by the seed that torch was given."""
        self.check(space)
        proposer = self.proposer(space, np.random.default_rng(torch.initial_seed()))
        board = Board(proposer, stage.journal(), self.trials, self.minutes, self._halving())
        loop = stage.loop(self.trials, 1, {})
        board.catch_up()
        self._publish(board, loop)
        for _ in loop.epochs():
            claimed = board.claim()
            if claimed is not None:
                self._try(*claimed, board, objective)
            self._publish(board, loop)
            if claimed is None and board.is_over:  # there was less to try than was asked for
                break
            if claimed is None:
                time.sleep(POLL_S)
        return found(board.tried, loop.history, self.num_ranked)

    def _try(self, number: int, architecture: Architecture, board: Board, objective: Scores) -> None:
        report = partial(board.report, number) if board.halving else None
        try:
            board.tell(number, known(architecture, board.tried) or objective.score(architecture, self.epochs, report))
        finally:
            board.journal.release(number)

    def _halving(self) -> Halving | None:
        return None if self.pruning == "none" else Halving(kind=self.pruning, factor=self.factor, epochs=self.epochs)

    def _publish(self, board: Board, loop: Loop) -> None:
        """Gives the history the trials that have ended since."""
        tried = board.tried
        if len(loop.history) > len(tried):
            raise ValueError(
                f"the search has {len(loop.history)} trials in its history and {len(tried)} in its "
                "journal, which belong together: bring the journal back, or --overwrite to start again"
            )
        for place in range(len(loop.history), len(tried)):
            so_far = tried[: place + 1]
            if self.minutes is not None and sum(trial.score.seconds for trial in so_far) >= 60 * self.minutes:
                loop.stop(f"the trials took {self.minutes:g} minutes")
            loop.end_epoch(**so_far[-1].to_dict(), best=ranked(so_far)[0][0])


def found(tried: Sequence[Trial], history: list[dict], num_ranked: int) -> SearchResult:
    """The end of a search that tried these."""
    costs = {trial.architecture: trial.score.cost for trial in tried}
    return SearchResult(ranked(tried)[:num_ranked], history, front(tried), "mAP", costs)


def ranked(tried: Iterable[Trial]) -> list[tuple[float, Architecture]]:
    """Each architecture once, best first; of equally good ones the cheaper, then the earlier.

    Those that were stopped early come behind all others, as their values are of then.
    """
    scores = {trial.architecture: trial.score for trial in tried}
    best = sorted(scores, key=lambda each: (scores[each].pruned, -scores[each].value, scores[each].cost))
    return [(scores[architecture].value, architecture) for architecture in best]


def front(tried: Iterable[Trial]) -> list[tuple[float, float, Architecture]]:
    """Score, cost and architecture of those that no other beats in both, the cheapest first; none was stopped early."""
    kept: list[tuple[float, float, Architecture]] = []
    whole = [trial for trial in tried if not trial.score.pruned]
    for trial in sorted(whole, key=lambda trial: (trial.score.cost, -trial.score.value)):
        if not kept or trial.score.value > kept[-1][0]:
            kept.append((trial.score.value, trial.score.cost, trial.architecture))
    return kept
