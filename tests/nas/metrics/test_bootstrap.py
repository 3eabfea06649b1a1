"""The bootstrap against a loop with the same draws, and against the intervals that theory gives."""

import numpy as np
import pytest

from nas.metrics import bootstrap
from nas.metrics.bootstrap import percentile_interval, resampled_means


def naive_means(values, rng, resamples, clusters):
    groups = [np.flatnonzero(clusters == name) for name in sorted(set(clusters.tolist()))]
    means = []
    for _ in range(resamples):
        rows = [row for group in rng.integers(len(groups), size=len(groups)) for row in groups[group]]
        means.append([sum(values[row, k] for row in rows) / len(rows) for k in range(values.shape[1])])
    return np.array(means)


@pytest.mark.parametrize("draws_at_once", [1, 100, 2**21])
@pytest.mark.parametrize("of_clusters", [False, True])
def test_means_are_those_of_the_naive_loop_whatever_the_block(draws_at_once, of_clusters, monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", draws_at_once)
    values = np.random.default_rng(0).random((31, 3))
    clusters = np.random.default_rng(1).integers(5, 12, 31) ** 2 if of_clusters else None
    found = resampled_means(values, np.random.default_rng(2), 40, clusters)
    naive = naive_means(values, np.random.default_rng(2), 40, np.arange(31) if clusters is None else clusters)
    np.testing.assert_allclose(found, naive, rtol=1e-12)


def test_interval_over_rows_is_the_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, (900, 1))
    low, high = percentile_interval(resampled_means(values, np.random.default_rng(1), 8000))[:, 0]
    error = 1.959964 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=0.08 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.08 * error)


def test_interval_over_clusters_is_that_of_a_ratio_of_totals():
    """The rows of a cluster are alike, so that an interval over rows would be far too narrow."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(400), rng.integers(3, 9, 400))
    values = (rng.normal(size=400)[clusters] + 0.1 * rng.normal(size=len(clusters)))[:, None]
    residual = np.bincount(clusters, weights=values[:, 0] - values.mean())
    error = 1.959964 * np.sqrt(np.square(residual).sum()) / len(values)
    low, high = percentile_interval(resampled_means(values, rng, 8000, clusters))[:, 0]
    assert (high - low) / 2 == pytest.approx(error, rel=0.06)
    low, high = percentile_interval(resampled_means(values, rng, 8000))[:, 0]
    assert (high - low) / 2 < 0.6 * error


def test_columns_see_the_same_draws():
    values = np.random.default_rng(0).random((50, 1))
    means = resampled_means(np.hstack([values, values + 0.25]), np.random.default_rng(1), 100)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25)
    assert means[:, 0].std() > 0.01


def test_interval_covers_the_middle():
    samples = np.arange(1001.0)[:, None] * [1, -1]
    np.testing.assert_allclose(percentile_interval(samples, 0.9), [[50, -950], [950, -50]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.array([[0.5], [np.nan]])}, "1 that are not finite: leave skipped"),
        ({"values": np.ones(4)}, r"\[N, K\]"),
        ({"values": np.ones((1, 1))}, "at least two rows"),
        ({"clusters": np.full(4, 7)}, "at least two rows, or clusters, to draw from, got 1"),
        ({"clusters": np.arange(3)}, "one number for each of 4 rows, got 3"),
        ({"resamples": 0}, "1 or more, got 0"),
    ],
)
def test_what_cannot_be_drawn_from_is_named(change, message):
    given = {"values": np.ones((4, 2)), "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=message):
        resampled_means(**given)


def test_too_few_resamples_for_the_tails_are_named():
    with pytest.raises(ValueError, match="95% needs at least 40 resamples, got 39"):
        percentile_interval(np.ones((39, 1)))
