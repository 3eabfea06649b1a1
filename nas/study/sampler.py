"""Optuna's samplers and pruners by our names, drawing by seed and place in the queue."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

POPULATION = 20
STARTUP = 5
"""Trials that end before the median prunes another."""


def _tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`: a constant temperature has no end
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "grid": lambda seed: RandomSampler(seed=seed),  # the queue has decided everything
    "tpe": _tpe,
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION),
}


def pruner(name: str, num_epochs: int, every: int) -> BasePruner:
    """A pruner of runs of `num_epochs` that tell their mAP every `every` epochs."""
    return {
        "none": NopPruner(),
        "median": MedianPruner(n_startup_trials=STARTUP),
        "hyperband": HyperbandPruner(min_resource=every, max_resource=max(num_epochs, every)),
    }[name]


class Seeded(BaseSampler):
    """Another sampler, made anew for each trial by `seed` and the trial's place in the queue.

    So a study that was killed goes on as if it had not been, and no two workers propose the same by chance.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make, self.seed = make, seed
        self.inner = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        place = trial.user_attrs.get("place", trial.number)
        self.inner = self.make(int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0]))
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)
