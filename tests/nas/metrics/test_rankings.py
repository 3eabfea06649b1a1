"""Orders of things that are measured several times, against naive counts and known variances."""

from itertools import combinations

import numpy as np
import pytest

from nas.metrics.rankings import agreement, kendall, spearman, tau_between, tau_within, variance_components


def measured(rng, num, seeds, between, within):
    return rng.normal(0, between, (num, 1)) + rng.normal(0, within, (num, seeds))


@pytest.mark.parametrize(("between", "within"), [(3.0, 1.0), (1.0, 1.0), (0.5, 2.0)])
def test_components_of_known_variances_come_out(between, within):
    found = variance_components(measured(np.random.default_rng(0), 4000, 3, between, within))
    assert found.within == pytest.approx(within, rel=0.03) and found.between == pytest.approx(between, abs=0.1)


def test_groups_that_differ_in_size_have_the_same_components():
    rng = np.random.default_rng(1)
    groups = [row[: rng.integers(1, 5)] for row in measured(rng, 6000, 4, 2.0, 1.0)]
    found = variance_components(groups)
    assert found.within == pytest.approx(1, rel=0.03) and found.between == pytest.approx(2, rel=0.03)


def test_components_by_hand():
    """Squares between: 2 (0 - 3)^2 + 2 (6 - 3)^2 = 36 over 1; within: 4 over 2; (36 - 2) / 2 = 17."""
    found = variance_components([[-1, 1], [5, 7]])
    assert found.between == pytest.approx(17**0.5) and found.within == pytest.approx(2**0.5)


def test_groups_whose_means_are_closer_than_by_chance_do_not_differ():
    assert variance_components([[0, 10], [10, 0], [1, 9]]).between == 0


@pytest.mark.parametrize("groups", [[[1, 2]], [[1], [2]], [[1, 2], []]])
def test_too_few_values_are_named(groups):
    with pytest.raises(ValueError, match="need two groups and two values in one of them, got groups of"):
        variance_components(groups)


def naive_tau(first, second):
    """Pairs in the same order less those in the opposite one, as a share of all; nothing is tied."""
    signs = [np.sign((first[i] - first[j]) * (second[i] - second[j])) for i, j in combinations(range(len(first)), 2)]
    return sum(signs) / len(signs)


def test_taus_are_those_of_counted_pairs():
    rng = np.random.default_rng(2)
    first, second = rng.random((9, 3)), rng.random((9, 3))
    assert kendall(first[:, 0], second[:, 0]) == pytest.approx(naive_tau(first[:, 0], second[:, 0]))
    own = [naive_tau(first[:, i], first[:, j]) for i, j in combinations(range(3), 2)]
    assert tau_within(first) == pytest.approx(np.mean(own))
    others = [naive_tau(first[:, i], second[:, j]) for i in range(3) for j in range(3) if i != j]
    assert tau_between(first, second) == pytest.approx(np.mean(others))
    ranks = [np.argsort(np.argsort(values[:, 0])) for values in (first, second)]
    assert spearman(first[:, 0], second[:, 0]) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_what_does_not_vary_has_no_order_and_one_measurement_no_tau():
    same, other = np.ones(6), np.arange(6.0)
    assert kendall(same, other) is None and spearman(same, other) is None
    assert tau_within(other[:, None]) is None and agreement(other[:, None], other[:, None]) is None


@pytest.mark.medium
def test_two_ways_of_one_order_agree_as_far_as_their_noise_allows_and_two_of_others_do_not():
    rng = np.random.default_rng(3)
    true = rng.normal(size=(150, 1))
    first, second, other = (values + rng.normal(0, 0.5, (150, 2)) for values in (true, true, rng.normal(size=(150, 1))))
    same, differs = agreement(first, second), agreement(first, other)
    assert same.between == pytest.approx(same.within, abs=0.06) and same.interval[0] < 0 < same.interval[1]
    assert differs.between == pytest.approx(0, abs=0.1) and differs.interval[0] > 0.3


@pytest.mark.medium
def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of two ways that share one order the difference is 0: 57 of 60 intervals have it, give or take a few."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng([4, seed])
        true = rng.normal(size=(20, 1))
        found = agreement(*(true + rng.normal(0, 0.5, (20, 2)) for _ in range(2)))
        held += found.interval[0] <= 0 <= found.interval[1]
    assert 52 <= held <= 60
