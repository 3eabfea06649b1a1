"""Optuna's samplers as strategies: whatever they propose, the space asks and the objective scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from nas.strategies.discrete import DiscreteSearch, Proposals
from search_spaces.base import SearchSpace
from search_spaces.trial import proposed

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True)
class OptunaSearch(DiscreteSearch):
    """Lets a sampler of Optuna propose: a tree-structured Parzen estimator, a Gaussian process, or NSGA-II.

    NSGA-II weighs the score against the network's cost; read its result from the front.
    """

    sampler: Literal["tpe", "gp", "nsga2"] = "tpe"
    population: int = 20
    """Of NSGA-II."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler not in ("tpe", "gp", "nsga2"):
            raise ValueError(f"the sampler must be tpe, gp or nsga2, not {self.sampler!r}")
        if self.population < 2:
            raise ValueError(f"NSGA-II needs a population of at least 2, not {self.population}")

    def proposals(self, space: SearchSpace, rng: np.random.Generator) -> Proposals:
        if find_spec("optuna") is None:
            raise ValueError(f"the strategy {self.sampler} needs Optuna: pip install 'nas-reid[tune]'")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = ["maximize", "minimize"] if self.sampler == "nsga2" else ["maximize"]
        study = optuna.create_study(directions=directions, sampler=self._sampler(int(rng.integers(2**32))))
        while True:
            trial = study.ask()
            score = (yield proposed(space, trial)).score
            study.tell(trial, [score.value, score.cost][: len(directions)])

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            match self.sampler:
                case "tpe":
                    return TPESampler(seed=seed, multivariate=True, group=True)
                case "gp":
                    return GPSampler(seed=seed, deterministic_objective=True)
                case "nsga2":
                    return NSGAIISampler(seed=seed, population_size=self.population)
