"""Optuna's samplers as strategies: whatever they propose, the space asks and the objective scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from nas.strategies.board import Trial
from nas.strategies.discrete import DiscreteSearch
from search_spaces.architecture import Architecture
from search_spaces.ranges import TwoOrMore
from search_spaces.space import SearchSpace
from search_spaces.trial import proposed

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True)
class OptunaSearch(DiscreteSearch):
    """Lets a sampler of Optuna propose: a tree-structured Parzen estimator, a Gaussian process, or NSGA-II.

    NSGA-II weighs the score against the network's cost; read its result from the front.
    """

    sampler: Literal["tpe", "gp", "nsga2"] = "tpe"
    """Which sampler of Optuna proposes: a tree-structured Parzen estimator, a Gaussian process, or NSGA-II, which
    weighs score against cost."""
    population: TwoOrMore = 20
    """Architectures in each generation of NSGA-II."""

    def check(self, space: SearchSpace) -> None:
        if find_spec("optuna") is None:
            raise ValueError(f"the strategy {self.sampler} needs Optuna: pip install 'nas-reid[tune]'")
        super().check(space)

    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Asking:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions: list[Literal["maximize", "minimize"]] = ["maximize"]
        if self.sampler == "nsga2":
            directions.append("minimize")
        return Asking(
            space, optuna.create_study(directions=directions, sampler=self._sampler(int(rng.integers(2**32))))
        )

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


class Asking:
    """Proposes what a study's sampler suggests."""

    def __init__(self, space: SearchSpace, study: optuna.Study) -> None:
        self.space, self.study = space, study
        self.asked: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Architecture:
        self.asked[number] = self.study.ask()
        return proposed(self.space, self.asked[number])

    def tell(self, number: int, tried: Trial) -> None:
        values = [tried.score.value, tried.score.cost][: len(self.study.directions)]
        self.study.tell(self.asked.pop(number), values)
