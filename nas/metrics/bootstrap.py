"""Intervals of means by the bootstrap (Efron and Tibshirani, 1993): percentiles of the means of rows drawn again."""

from collections.abc import Iterator

import numpy as np

DRAWS_AT_ONCE = 2**21  # of rows, which bounds the memory: about 50 MB


def resampled_means(
    values: np.ndarray, rng: np.random.Generator, resamples: int = 2000, clusters: np.ndarray | None = None
) -> np.ndarray:
    """The means `[resamples, K]` of `values [N, K]` over N rows drawn with replacement, the same for all K columns.

    That makes the difference of two columns of the result a paired bootstrap. With `clusters [N]` whole clusters are
    drawn instead, as many as there are, and all rows of a cluster come along as often as it is drawn; the mean is over
    the rows that came. Raises ValueError for fewer than two rows or clusters, and for values that are not finite.
    """
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be [N, K] and finite, got shape {list(values.shape)} with "
            f"{np.count_nonzero(~np.isfinite(values))} that are not finite: leave skipped queries out"
        )
    if resamples < 1:
        raise ValueError(f"resamples must be 1 or more, got {resamples}")
    clusters = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if len(clusters) != len(values):
        raise ValueError(f"clusters must hold one number for each of {len(values)} rows, got {len(clusters)}")
    sizes = np.bincount(clusters)
    if len(sizes) < 2:
        raise ValueError(f"there must be at least two rows, or clusters, to draw from, got {len(sizes)}")
    sums = np.stack([np.bincount(clusters, weights=column) for column in values.T], axis=1)
    drawn = [counts @ np.column_stack([sums, sizes]) for counts in _counts(len(sizes), rng, resamples)]
    totals = np.concatenate(drawn)
    return totals[:, :-1] / totals[:, -1:]


def percentile_interval(samples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The lower and upper end `[2, ...]` of the middle `level` of `samples [R, ...]`.

    Raises ValueError when R is so small that no sample lies in the tails.
    """
    tail = (1 - level) / 2
    needed = round(1 / tail)
    if len(samples) < needed:
        raise ValueError(f"an interval at {level:.0%} needs at least {needed} resamples, got {len(samples)}")
    return np.quantile(samples, [tail, 1 - tail], axis=0)


def _counts(num: int, rng: np.random.Generator, resamples: int) -> Iterator[np.ndarray]:
    """How often each of `num` is drawn, float64 `[R, num]`, a block of resamples at a time."""
    block = max(1, DRAWS_AT_ONCE // num)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(num, size=(rows, num)) + num * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * num).reshape(rows, num).astype(np.float64)
