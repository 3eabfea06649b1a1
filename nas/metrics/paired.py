"""What pairs of measurements say: the mean difference, how sure it is, and how many pairs would be needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

POWER = 0.8
LEVEL = 0.05
MOST_PAIRS = 10_000
PLAIN = 100.0
"""A shift of the t statistic that every test sees; scipy has no number for much larger ones."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with what a t distribution says of it."""

    mean: float
    interval: tuple[float, float]
    """Of 95 %."""
    p: float
    """Two-sided, of a mean of 0."""


def paired_t(differences: np.ndarray) -> Estimate:
    """Student's paired t-test: `differences [N]`, of N >= 2 pairs.

    Without any spread the interval is the mean alone, and p is 1 for a mean of 0, else 0. Raises ValueError for fewer
    than two pairs and for differences that are not finite.
    """
    _check(differences, 2)
    return _estimate(
        float(differences.mean()), float(differences.std(ddof=1)) / np.sqrt(len(differences)), len(differences) - 1
    )


def adjusted(differences: np.ndarray, covariate: np.ndarray) -> Estimate:
    """The mean difference where `covariate [N]` (a difference, too) is 0: the intercept of an ordinary least-squares
    line through the N >= 3 pairs.

    Raises ValueError for fewer than three pairs, and where the covariate does not vary.
    """
    _check(differences, 3)
    if np.ptp(covariate) == 0:
        raise ValueError("a covariate must vary over the pairs, and is the same in all of them")
    design = np.column_stack([np.ones(len(differences)), covariate])
    solution, *_ = np.linalg.lstsq(design, differences, rcond=None)
    freedom = len(differences) - 2
    variance = float(np.square(differences - design @ solution).sum()) / freedom
    error = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))
    return _estimate(float(solution[0]), error, freedom)


def pairs_needed(mean: float, deviation: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """How many pairs a two-sided t-test needs to see a mean difference of this size, with so much power; None: more
    than ten thousand. `deviation`: the standard deviation of the differences.
    """
    if mean == 0:
        return None
    effect = abs(mean) / max(deviation, 1e-12)

    def lacking(pairs: float) -> float:
        edge, shift = t.isf(level / 2, pairs - 1), effect * np.sqrt(pairs)
        seen = 1.0 if shift > PLAIN else float(nct.sf(edge, pairs - 1, shift))
        return seen - power

    if lacking(2) >= 0:
        return 2
    if lacking(MOST_PAIRS) < 0:
        return None
    return int(np.ceil(brentq(lacking, 2, MOST_PAIRS, xtol=1e-6) - 1e-6))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values after Holm's step-down correction (1979), by the same names."""
    adjusted_p, least = dict[str, float](), 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted_p[name] = least
    return {name: adjusted_p[name] for name in p_values}


def joint_interval(
    differences: np.ndarray, identities: Sequence[object] | np.ndarray, rng: np.random.Generator, resamples: int = 2000
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `differences [S, Q]` (seed, query) over seeds and identities jointly:
    both are drawn with replacement, and all queries of an identity (`identities [Q]`) come along as often as it is.

    Raises ValueError for fewer than two seeds or identities.
    """
    clusters = np.unique(np.asarray(identities), return_inverse=True)[1]
    num_seeds, num_clusters = len(differences), int(clusters.max()) + 1
    if num_seeds < 2 or num_clusters < 2:
        raise ValueError(
            f"an interval over seeds and identities needs two of each, got {num_seeds} seeds and {num_clusters} "
            "identities"
        )
    sums = np.stack([np.bincount(clusters, weights=row, minlength=num_clusters) for row in differences])
    sizes = np.bincount(clusters, minlength=num_clusters)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=resamples)
    drawn = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=resamples)
    means = np.einsum("rs,sc,rc->r", seeds, sums, drawn) / (num_seeds * (drawn @ sizes))
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _estimate(mean: float, error: float, freedom: int) -> Estimate:
    if error == 0:
        return Estimate(mean=mean, interval=(mean, mean), p=float(mean == 0))
    half = float(t.isf(LEVEL / 2, freedom)) * error
    return Estimate(mean=mean, interval=(mean - half, mean + half), p=float(2 * t.sf(abs(mean) / error, freedom)))


def _check(differences: np.ndarray, least: int) -> None:
    if len(differences) < least:
        raise ValueError(f"there must be {least} pairs or more, got {len(differences)}")
    if not np.isfinite(differences).all():
        raise ValueError(f"differences must be finite, got {differences.tolist()}")
