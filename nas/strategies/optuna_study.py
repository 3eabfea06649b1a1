"""Proposals of Optuna's samplers as pure functions of history: each is a new study's, which is given all trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from datetime import datetime
from functools import cache
from typing import Literal

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.strategies.places import Places
from nas.strategies.trials import Proposal, Trial
from search_spaces.space import SearchSpace
from search_spaces.trial import proposed

optuna.logging.set_verbosity(optuna.logging.WARNING)

Sampler = Literal["tpe", "gp", "nsga2"]

SOME_TIME = datetime(2000, 1, 1)
"""Of every trial: Optuna wants to have one, and no sampler looks at it."""


def suggest(sampler: Sampler, population: int, space: SearchSpace, told: Sequence[Trial], seed: int) -> Proposal:
    """What a sampler that knows these trials suggests. NSGA-II has two objectives or more, of which the cost is the
    second, and what else is to be large comes behind it."""
    directions: list[Literal["maximize", "minimize"]] = ["maximize"]
    if sampler == "nsga2":
        directions.append("minimize")
        directions.extend("maximize" for _ in (told[0].score.further if told else ()))
    study = optuna.create_study(directions=directions, sampler=build_sampler(sampler, population, seed))
    study.add_trials(ended(trial, len(directions)) for trial in told)
    places = Places(study.ask())
    architecture = proposed(space, places)
    asked = study.get_trials(deepcopy=False)[-1]
    return Proposal(architecture, {"drawn": places.drawn, "attributes": asked.system_attrs})


def build_sampler(sampler: Sampler, population: int, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match sampler:
            case "tpe":
                return TPESampler(seed=seed, multivariate=True, group=True)
            case "gp":
                return GPSampler(seed=seed, deterministic_objective=True)
            case "nsga2":
                return NSGAIISampler(seed=seed, population_size=population)


class Ended(FrozenTrial):
    """A trial that nobody changes any more: the study that is given it shares what is in it, and copies nothing."""

    def __deepcopy__(self, memo: dict[int, object]) -> Ended:
        return copy(self)


def ended(trial: Trial, num_objectives: int) -> Ended:
    drawn = trial.notes["drawn"]
    return Ended(
        number=trial.number,
        trial_id=trial.number,
        state=TrialState.COMPLETE,
        value=None,
        values=[trial.score.value, trial.score.cost, *trial.score.further.values()][:num_objectives],
        datetime_start=SOME_TIME,
        datetime_complete=SOME_TIME,
        params={name: place for name, (place, _) in drawn.items()},
        distributions={name: options(num_options) for name, (_, num_options) in drawn.items()},
        user_attrs={},
        system_attrs=dict(trial.notes["attributes"]),
        intermediate_values={},
    )


@cache
def options(num_options: int) -> CategoricalDistribution:
    return CategoricalDistribution(range(num_options))
