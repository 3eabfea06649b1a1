"""What NNI's searches are told: the fields of the strategies, for the modules that import NNI."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.strategies.nni.install import MultiTrial, OneShot
from nas.training.optimisers import SGD, Adam, CosineLR, Optimiser
from search_spaces.ranges import Count, CountOrZero, Positive


@dataclass(frozen=True, kw_only=True)
class OneShotSettings:
    """Of a search in one of NNI's supernets."""

    algorithm: OneShot = "DARTS"
    """Which of NNI's one-shot searches runs."""
    epochs: Count = 200
    """Epochs of the search."""
    minutes: Positive | None = None
    """Minutes after which the search ends, with the current epoch; None: no limit."""
    weights: Optimiser = field(default_factory=lambda: SGD(lr=0.1, rate=CosineLR(final=0.01)))
    alphas: Optimiser = field(default_factory=lambda: Adam(lr=0.02, betas=(0.5, 0.999)))
    """NNI's own are lr 3e-4 and weight decay 1e-3."""
    warmup_epochs: CountOrZero = 0
    """Epochs at the start in which the alphas, or the controller, rest."""
    clip: Positive | None = 5.0
    """Largest norm of the weights' gradient; None: it is not clipped."""
    num_candidates: Count = 20
    """Architectures that RandomOneShot and ENAS measure at the end with the supernet's weights."""
    recalibration: Count = 10
    """Training batches from which a candidate's BatchNorms take their statistics."""
    num_ranked: Count = 20
    """Length of the ranked list that a search ends with."""

    @property
    def learns_alphas(self) -> bool:
        return self.algorithm not in ("RandomOneShot", "ENAS")


@dataclass(frozen=True, kw_only=True)
class MultiTrialSettings:
    """Of a search of NNI's that tries one architecture after the other."""

    algorithm: MultiTrial = "Random"
    """Which of NNI's multi-trial searches runs."""
    population: Count = 20
    """Architectures in the population of RegularizedEvolution; NNI's own is 100, for thousands of trials."""
    sample: Count = 5
    """Members of the population that compete to be a parent in RegularizedEvolution; NNI's own is 25."""
