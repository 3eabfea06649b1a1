"""NNI 3.0's strategies on our spaces, with our objective. NNI itself is imported when it is needed, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nas.strategies.base import Objective, OneShotSearch, SearchResult, Stage
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.nni.install import check_installed, quiet
from nas.strategies.nni.settings import MultiTrialSettings, OneShotSettings
from nas.strategies.trials import Proposal, Trial
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class NNIOneShot(OneShotSettings, OneShotSearch):
    """One of NNI's searches in a supernet: its supernet and its steps on our batches, losses and optimisers.

    DARTS, GumbelDARTS and Proxyless learn alphas, from which our rule derives (NNI's ranks edges by raw alphas).
    RandomOneShot and ENAS draw paths; what they found are the best of `num_candidates` architectures, drawn by chance
    or by ENAS's controller, by their mAP with the supernet's weights. First order only, and the gradients of weights
    and alphas are both computed in every step, as in NNI. What ENAS's controller is about to learn from, a checkpoint
    does not keep, so that a killed one goes on otherwise; the others go on as our searches do.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs >= self.epochs:
            raise self.out_of_range("warmup_epochs", f"be below epochs, {self.epochs}")

    @property
    def shares_steps(self) -> bool:
        return self.algorithm != "ENAS"  # whose controller nobody has seen in several processes

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
        if self.sample > self.population:
            raise self.out_of_range("sample", f"be at most the population, {self.population}")

    def check(self, space: SearchSpace) -> None:
        super().check(space)
        check_installed(self.algorithm)

    def propose(
        self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator
    ) -> Proposal | None:
        with quiet():
            from nas.strategies.nni.multi_trial import propose
        return propose(self, space, number, told, rng)
