"""What repeated measurements of many things say of their order: how far they differ beyond chance, and whether two ways
to measure put them into the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy.stats import kendalltau, spearmanr, t

LEVEL = 0.05
MOST_GROUPS = 100
"""Groups that a jackknife leaves out one after the other."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Standard deviations, in the unit of the values."""

    between: float
    """Of the things' true values."""
    within: float
    """Of the measurements of one thing."""


def variance_components(groups: Sequence[Sequence[float]]) -> Components:
    """Of a one-way random-effects analysis of variance, by the method of moments (Searle et al. 1992, section 3.6),
    also of groups that differ in size; `between` is 0 where the groups' means differ by less than chance would have it.

    Raises ValueError for fewer than two groups, and where no group has two values.
    """
    sizes = np.array([len(group) for group in groups])
    total, num_groups = int(sizes.sum()), len(groups)
    if num_groups < 2 or total == num_groups or not sizes.all():
        raise ValueError(
            f"variance components need two groups and two values in one of them, got groups of {sizes.tolist()}"
        )
    means = np.array([np.mean(group) for group in groups])
    overall = (sizes * means).sum() / total
    mean_square_between = (sizes * (means - overall) ** 2).sum() / (num_groups - 1)
    squares = sum(((np.asarray(group) - mean) ** 2).sum() for group, mean in zip(groups, means, strict=True))
    mean_square_within = float(squares) / (total - num_groups)
    usual_size = (total - (sizes**2).sum() / total) / (num_groups - 1)
    between = max(0.0, (mean_square_between - mean_square_within) / usual_size)
    return Components(between=math.sqrt(between), within=math.sqrt(mean_square_within))


def kendall(first: np.ndarray, second: np.ndarray) -> float | None:
    """Kendall's tau-b of two `[N]`; None where it is not defined, as one of them does not vary."""
    return _defined(kendalltau(first, second).statistic)


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two `[N]`; None as for `kendall`."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return _defined(spearmanr(first, second).statistic)


def tau_within(values: np.ndarray) -> float | None:
    """The mean of Kendall's tau over the pairs of columns of `values [N, S]`; None with one column."""
    return _mean_tau([(values[:, i], values[:, j]) for i, j in combinations(range(values.shape[1]), 2)])


def tau_between(first: np.ndarray, second: np.ndarray) -> float | None:
    """The mean of Kendall's tau between a column of `first [N, S]` and another one of `second [N, S]`: columns of the
    same place, whose chance is the same, are not compared. None with one column."""
    pairs = product(range(first.shape[1]), repeat=2)
    return _mean_tau([(first[:, i], second[:, j]) for i, j in pairs if i != j])


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two ways to measure agree on the order of N things, beside how far each agrees with itself."""

    between: float
    """`tau_between` of the two."""
    within: float
    """The geometric mean of `tau_within` of each: what `between` would be about if the two ways had the same order."""
    interval: tuple[float, float] | None
    """Of 95 %, of `within` minus `between`, from a jackknife over the things; None where a part of them is not enough.
    """


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement | None:
    """Of `first [N, S]` and `second [N, S]`, S measurements of the same N things; None where there is one measurement,
    or nothing varies."""
    taus = _taus(first, second)
    if taus is None:
        return None
    groups = np.array_split(np.arange(len(first)), min(len(first), MOST_GROUPS))
    left = [_taus(*(np.delete(values, group, axis=0) for values in (first, second))) for group in groups]
    known = np.array([within - between for within, between in filter(None, left)])
    interval = None
    if len(known) == len(groups) > 1:
        error = math.sqrt((len(known) - 1) * float(known.var()))
        half = float(t.isf(LEVEL / 2, len(known) - 1)) * error
        interval = (taus[0] - taus[1] - half, taus[0] - taus[1] + half)
    return Agreement(within=taus[0], between=taus[1], interval=interval)


def _taus(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """Within, as a geometric mean, and between."""
    own, others, between = tau_within(first), tau_within(second), tau_between(first, second)
    if own is None or others is None or between is None:
        return None
    return math.sqrt(max(own, 0.0) * max(others, 0.0)), between


def _mean_tau(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    taus = [tau for tau in (kendall(*pair) for pair in pairs) if tau is not None]
    return float(np.mean(taus)) if taus else None


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
