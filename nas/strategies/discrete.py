"""Strategies that propose one architecture after the other and learn from each one's score alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from nas.strategies.base import Score, Scores, Strategy
from nas.strategies.trials import Proposal, Proposer, Trial, known
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, Positive, TwoOrMore
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from optuna import Trial as OptunaTrial
    from optuna.pruners import BasePruner


@dataclass(frozen=True, kw_only=True)
class DiscreteSearch(Strategy):
    """A strategy that asks the objective for scores. A subclass says what to try next, as a pure function of history.

    An architecture that comes up again counts as a trial, but keeps its score and takes no time. Several processes may
    share the trials (`nas.study.searching`); alone, the seed decides all.
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
    def propose(
        self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator
    ) -> Proposal | None:
        """What trial `number` tries (`nas.strategies.trials.Proposer`)."""

    def proposer(self, objective: Scores) -> Proposer:
        """What says what to try: the strategy itself, unless it asks the objective for that."""
        return self

    def score(self, objective: Scores, architecture: Architecture, report: PruneCallback | None = None) -> Score:
        """What a trial is worth; `report` may stop it early."""
        return objective.score(architecture, self.epochs, report)

    def pruner(self) -> BasePruner:
        """What says whether a trial stops, of the values that all have reported at their epochs, counted from 1."""
        from optuna.pruners import HyperbandPruner, NopPruner, SuccessiveHalvingPruner

        match self.pruning:
            case "none":
                return NopPruner()
            case "halving":
                return SuccessiveHalvingPruner(min_resource=1, reduction_factor=self.factor)
            case "hyperband":
                return HyperbandPruner(min_resource=1, max_resource=self.epochs, reduction_factor=self.factor)

    def small(self) -> Self:
        return replace(self, epochs=2, trials=3)

    def check(self, space: SearchSpace) -> None:
        if not space.published().decisions:
            raise ValueError(f"{space.title} leaves nothing open: there is one architecture, and nothing to search")


def search_alone(strategy: DiscreteSearch, space: SearchSpace, objective: Scores, seed: int) -> list[Trial]:
    """The trials of one worker that stores nothing: what any other way to search with one worker must come to."""
    from optuna import create_study, logging
    from optuna.trial import TrialState

    logging.set_verbosity(logging.WARNING)
    strategy.check(space)
    told: list[Trial] = []
    proposer = strategy.proposer(objective)
    study = create_study(study_name="search", direction="maximize", pruner=strategy.pruner())
    for number in range(strategy.trials):
        proposal = proposer.propose(space, number, told, np.random.default_rng([seed, number]))
        if proposal is None:
            break
        trial = study.ask()

        def stops(epoch: int, value: float, trial: OptunaTrial = trial) -> bool:
            trial.report(value, epoch)
            return epoch < strategy.epochs and trial.should_prune()

        report = None if strategy.pruning == "none" else stops
        score = known(proposal.architecture, told) or strategy.score(objective, proposal.architecture, report)
        told.append(Trial(number, proposal.architecture, score, proposal.notes))
        value, state = (None, TrialState.PRUNED) if score.pruned else (score.value, TrialState.COMPLETE)
        study.tell(trial, value, state)
        if strategy.minutes is not None and sum(trial.score.seconds for trial in told) >= 60 * strategy.minutes:
            break
    return told
