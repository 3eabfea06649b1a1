"""Which trials stop early, against the rule spelled out."""

import numpy as np
import pytest

from nas.strategies.halving import Halving


@pytest.mark.parametrize(
    ("epochs", "factor", "rungs"), [(9, 3, [1, 3]), (10, 3, [1, 3, 9]), (2, 3, [1]), (16, 2, [1, 2, 4, 8]), (1, 2, [])]
)
def test_rungs_are_powers_below_all_epochs(epochs, factor, rungs):
    assert Halving(epochs=epochs, factor=factor).all_rungs == rungs


def test_one_of_so_many_goes_on():
    """Told one after the other, each is held against those that came before it."""
    rng = np.random.default_rng(0)
    halving, values, stopped = Halving(epochs=9), {}, []
    for number, value in enumerate(rng.permutation(30).tolist()):
        values[number] = value
        better = sum(other > value for other in values.values())
        stopped.append(halving.stops(number, 1, values.items()))
        assert stopped[-1] == (better >= max(1, len(values) // 3))
    assert not stopped[0] and 15 < sum(stopped) < 28


def test_nobody_stops_between_rungs_or_at_the_end():
    halving = Halving(epochs=9)
    assert [epoch for epoch in range(1, 10) if halving.stops(1, epoch, [(0, 1.0), (1, 0.5)])] == [1, 3]


def test_hyperband_deals_trials_to_brackets():
    """Nine epochs and a factor of three: brackets of 9, 5 and 3 trials, as in the paper's table of s = 2, 1, 0."""
    hyperband = Halving(kind="hyperband", epochs=9)
    brackets = [hyperband.bracket(number) for number in range(34)]
    assert [brackets[:17].count(bracket) for bracket in range(3)] == [9, 5, 3] and brackets[:17] == brackets[17:]
    assert [hyperband.rungs(brackets.index(bracket)) for bracket in range(3)] == [[1, 3], [3], []]
    assert not hyperband.stops(16, 1, [(16, 0.0), (0, 1.0)]), "the last bracket stops nobody"
    assert not hyperband.stops(9, 3, [(9, 0.5), (0, 1.0)]), "brackets are compared with their own kind alone"
    assert hyperband.stops(10, 3, [(9, 0.7), (10, 0.5)])
