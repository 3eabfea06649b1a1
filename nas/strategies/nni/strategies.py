"""NNI 3.0's strategies on our spaces, with our objective. NNI itself is imported when it is needed, and not before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nas.strategies.base import Objective, SearchResult, Stage, Strategy, check_minutes
from nas.strategies.board import Proposer
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.nni.install import MultiTrial, OneShot, check_algorithm, check_installed, quiet
from nas.strategies.nni.settings import MultiTrialSettings, OneShotSettings
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class NNIOneShot(OneShotSettings, Strategy):
    """One of NNI's searches in a supernet: its supernet and its steps on our batches, losses and optimisers.

    DARTS, GumbelDARTS and Proxyless learn alphas, from which our rule derives (NNI's ranks edges by raw alphas).
    RandomOneShot and ENAS draw paths; what they found are the best of `num_candidates` architectures, drawn by chance
    or by ENAS's controller, by their mAP with the supernet's weights. First order only, and the gradients of weights
    and alphas are both computed in every step, as in NNI. What ENAS's controller is about to learn from, a checkpoint
    does not keep; all else goes on after a kill as if there had been none.
    """

    def __post_init__(self) -> None:
        check_algorithm(self.algorithm, OneShot)
        check_minutes(self.minutes)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"epochs must be at least 1 and warmup_epochs less than that, not {self.epochs} and "
                f"{self.warmup_epochs}"
            )
        if min(self.num_candidates, self.recalibration, self.num_ranked) < 1:
            raise ValueError(
                "num_candidates, recalibration and num_ranked must be at least 1, not "
                f"{self.num_candidates}, {self.recalibration} and {self.num_ranked}"
            )

    def check(self, space: SearchSpace) -> None:
        check_installed(self.algorithm)
        with quiet():
            from nas.strategies.nni.choices import NNISupernet

            with torch.device("meta"):
                NNISupernet(space, self)

    def search(self, space: SearchSpace, objective: Objective, stage: Stage) -> SearchResult:
        check_installed(self.algorithm)
        with quiet():
            from nas.strategies.nni import one_shot
        return one_shot.search(self, space, objective, stage)


@dataclass(frozen=True, kw_only=True)
class NNIMultiTrial(MultiTrialSettings, DiscreteSearch):
    """One of NNI's searches that try one architecture after the other, each trained from scratch.

    GridSearch goes through the space in its order, without NNI's shuffle, which mixes a hundred neighbours at most.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_algorithm(self.algorithm, MultiTrial)
        if not 1 <= self.sample <= self.population:
            raise ValueError(
                f"sample must be from 1 to population, not {self.sample} with a population of {self.population}"
            )

    def check(self, space: SearchSpace) -> None:
        super().check(space)
        check_installed(self.algorithm)

    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Proposer:
        with quiet():
            from nas.strategies.nni.multi_trial import NNIProposer
        return NNIProposer(self, space, rng)
