"""Paired statistics against scipy, a simulation, a naive loop, and sizes of studies that were worked out elsewhere."""

import numpy as np
import pytest
from scipy.stats import linregress, ttest_rel

from nas.metrics.paired import adjusted, holm, joint_interval, paired_t, pairs_needed


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_paired_t_test_is_scipys(rng):
    one, other = rng.normal(size=(2, 9))
    oracle = ttest_rel(one, other)
    found, ends = paired_t(one - other), oracle.confidence_interval(0.95)
    assert found.mean == pytest.approx((one - other).mean()) and found.p == pytest.approx(oracle.pvalue)
    assert found.interval == pytest.approx((ends.low, ends.high))


def test_pairs_without_any_spread():
    same, none = paired_t(np.full(4, 0.25)), paired_t(np.zeros(4))
    assert (same.mean, same.interval, same.p) == (0.25, (0.25, 0.25), 0.0) and none.p == 1.0


def test_the_difference_at_a_covariate_of_0_is_the_intercept_of_a_line(rng):
    covariate = rng.normal(2, 1, size=12)
    differences = 0.7 + 0.4 * covariate + rng.normal(0, 0.1, size=12)
    line, found = linregress(covariate, differences), adjusted(differences, covariate)
    assert found.mean == pytest.approx(line.intercept)
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(2.228139 * line.intercept_stderr, rel=1e-5)  # t of 10 degrees of freedom
    assert found.p < 1e-3 < paired_t(rng.normal(size=12)).p


def test_what_cannot_be_tested_is_refused(rng):
    with pytest.raises(ValueError, match="2 pairs or more, got 1"):
        paired_t(np.array([1.0]))
    with pytest.raises(ValueError, match="must be finite"):
        paired_t(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="must vary over the pairs"):
        adjusted(np.array([1.0, 2.0, 4.0]), np.ones(3))
    with pytest.raises(ValueError, match="needs two of each, got 1 seeds and 2"):
        joint_interval(np.ones((1, 2)), [0, 1], rng)


@pytest.mark.parametrize(
    "deviation, mean, pairs, at_half_the_level",
    [(1.25, 1.2, 11, 13), (1.25, 3, 4, 5), (1.75, 1.2, 19, 23), (1.75, 3, 5, 6), (2.5, 1.2, 37, 44), (2.5, 3, 8, 10)],
)
def test_pairs_needed(deviation, mean, pairs, at_half_the_level):
    assert pairs_needed(mean, deviation) == pairs_needed(-mean, deviation) == pairs
    assert pairs_needed(mean, deviation, level=0.025) == at_half_the_level


def test_pairs_needed_give_the_power_they_promise(rng):
    differences = rng.normal(1.2, 1.75, size=(20_000, pairs_needed(1.2, 1.75)))
    t = differences.mean(axis=1) / (differences.std(axis=1, ddof=1) / np.sqrt(19))
    assert (np.abs(t) > 2.100922).mean() == pytest.approx(0.8, abs=0.02)  # t of 18 degrees of freedom


def test_no_number_of_pairs_sees_nothing():
    assert pairs_needed(0.0, 1.0) is None and pairs_needed(1e-6, 1.0) is None and pairs_needed(1.0, 0.0) == 2


def test_holm():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0} and holm({}) == {}


def test_the_joint_interval_is_that_of_a_naive_loop(rng):
    ids = np.array([3, 3, 7, 9, 9, 9])
    differences = rng.normal(0.3, 1, size=(4, 6))
    low, high = joint_interval(differences, ids, np.random.default_rng(1), resamples=20_000)
    means = []
    for _ in range(20_000):
        seeds, people = rng.integers(4, size=4), rng.choice([3, 7, 9], size=3)
        queries = np.concatenate([np.flatnonzero(ids == person) for person in people])
        means.append(differences[np.ix_(seeds, queries)].mean())
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.03)
