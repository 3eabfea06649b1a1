"""A search whose trials are whole architectures: a strategy proposes, the engine gives out, the objective scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import optuna
import torch
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from nas.strategies.base import Score, Scores, SearchResult
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.trials import Trial, found, known, ranked
from nas.study.engine import Engine, Outcome, Plan
from nas.study.place import Store
from nas.study.storage import join_study, open_storage, retry
from nas.training.stage import Loop, Stage
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


def search_by_trials(
    strategy: DiscreteSearch,
    space: SearchSpace,
    objective: Scores,
    stage: Stage,
    store: Store,
) -> SearchResult:
    """Takes part in the search until its trials have ended; several processes with the same `store` share them.

    A trial is what the stage's loop calls an epoch. An architecture that comes up again counts as a trial, but keeps
    its score and takes no time. Alone, the seed that torch was given decides all.
    """
    strategy.check(space)
    seed = torch.initial_seed()
    proposer = strategy.proposer(objective)
    storage = open_storage(store.address)
    facts, chance = {"stage": stage.fingerprint}, RandomSampler(seed=0)
    study = join_study(storage, store.address, store.study, facts, ["maximize"], chance, strategy.pruner())

    def plan(number: int, ended: Sequence[FrozenTrial]) -> Plan | None:
        told = trials_of(ended)
        if strategy.minutes is not None and sum(trial.score.seconds for trial in told) >= 60 * strategy.minutes:
            return None
        proposal = proposer.propose(space, number, told, np.random.default_rng([seed, number]))
        if proposal is None:
            return None
        noted = {"architecture": proposal.architecture.to_dict(), "notes": dict(proposal.notes)}
        return Plan(notes=noted, key=proposal.architecture.hash)

    engine = Engine(study, storage, plan, strategy.trials, store.grace_s)
    history = History(engine, strategy, stage.loop(strategy.trials, 1, {}))

    def do(trial: optuna.Trial) -> Outcome:
        def stops(epoch: int, value: float) -> bool:
            retry(lambda: trial.report(value, epoch))
            return epoch < strategy.epochs and retry(trial.should_prune)

        architecture = Architecture.from_dict(trial.user_attrs["plan"]["architecture"])
        report = None if strategy.pruning == "none" else stops
        told = retry(lambda: trials_of(engine.ended))
        score = known(architecture, told) or strategy.score(objective, architecture, report)
        retry(lambda: trial.set_user_attr("score", asdict(score)))
        return Outcome(values=[score.value], pruned=score.pruned)

    for _ in history.loop.epochs():
        engine.work(do, look=history.publish)
        break
    tried = trials_of(retry(lambda: engine.ended))
    return replace(found(tried, history.loop.history, strategy.num_ranked), score=strategy.measure)


def trials_of(ended: Sequence[FrozenTrial]) -> list[Trial]:
    """What a strategy is told of trials that have ended, in their order."""
    told = []
    for trial in ended:
        plan = trial.user_attrs["plan"]
        architecture, score = Architecture.from_dict(plan["architecture"]), Score(**trial.user_attrs["score"])
        told.append(Trial(trial.user_attrs["place"], architecture, score, plan["notes"]))
    return told


class History:
    """The history of a search's stage, which is given the trials that have ended since."""

    def __init__(self, engine: Engine, strategy: DiscreteSearch, loop: Loop) -> None:
        self.engine, self.strategy, self.loop = engine, strategy, loop
        self.publish()

    def publish(self) -> None:
        """Raises ValueError when the history has trials that the store has not."""
        if any("trial" not in line for line in self.loop.history):
            raise ValueError(
                "the search was begun by version 0.1, which kept its trials otherwise: finish it there, or start it "
                "again with --overwrite"
            )
        told = trials_of(self.engine.ended)
        published = {line["trial"] for line in self.loop.history}
        if missing := published - {trial.number for trial in told}:
            raise ValueError(
                f"the search has trial {min(missing)} in its history, and its store has not, which belong together: "
                "bring the store back, or --overwrite to start again"
            )
        so_far = [trial for trial in told if trial.number in published]
        reported = {trial.user_attrs["place"]: trial.intermediate_values for trial in self.engine.ended}
        for trial in told:
            if trial.number not in published:
                so_far.append(trial)
                seconds = sum(each.score.seconds for each in so_far)
                if self.strategy.minutes is not None and seconds >= 60 * self.strategy.minutes:
                    self.loop.stop(f"the trials took {self.strategy.minutes:g} minutes")
                reached = {"epochs": max(steps)} if (steps := reported[trial.number]) else {}
                measure = {"measure": self.strategy.measure} if self.strategy.measure != "mAP" else {}
                line = {**trial.to_dict(), **reached, **measure}
                self.loop.end_epoch(trial=trial.number, **line, best=ranked(so_far)[0][0])
