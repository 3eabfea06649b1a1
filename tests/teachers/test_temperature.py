"""The schedules at the epochs the paper names, at their ends and outside them."""

import math

import pytest

from teachers.temperature import Constant, Cosine, Linear, Temperature

FALLING = [Linear(), Linear(end=1.0), Linear(end=0.1), Cosine(), Cosine(start=1.0, end=4.0)]
SCHEDULES = [Constant(value=3.0), *FALLING]


def test_linear_is_the_papers_schedule():
    paper = Linear()
    assert [paper.at(epoch, 200) for epoch in (0, 95, 189, 190, 199)] == pytest.approx([2.0, 1.0, 2 / 190, 0.0, 0.0])
    assert paper.at(190, 200) == 0.0
    assert Linear(end=1.0).at(95, 200) == pytest.approx(1.5)


def test_cosine_is_half_a_cosine():
    expected = [1 + 0.5 * (1 + math.cos(math.pi * epoch / 190)) for epoch in range(190)]
    assert [Cosine().at(epoch, 200) for epoch in range(190)] == pytest.approx(expected)


def test_constant_is_constant():
    assert {Constant(value=3.0).at(epoch, 7) for epoch in range(7)} == {3.0}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("num_epochs", [1, 2, 7, 19, 200])
def test_every_schedule_starts_and_ends_exactly_and_moves_one_way(schedule, num_epochs):
    assert isinstance(schedule, Temperature)
    values = [schedule.at(epoch, num_epochs) for epoch in range(num_epochs)]
    assert values[0] == getattr(schedule, "start", getattr(schedule, "value", None))
    ended = {1: 1, 200: 190}.get(num_epochs, num_epochs - 1)
    assert set(values[ended:]) <= {getattr(schedule, "end", getattr(schedule, "value", None))}
    assert values in (sorted(values), sorted(values, reverse=True))


def test_a_short_run_still_starts_at_the_start():
    assert [Linear(until=0.01).at(epoch, 3) for epoch in range(3)] == [2.0, 0.0, 0.0]


@pytest.mark.parametrize("until", [0.95, 1.0])
def test_a_short_run_still_ends_at_the_end(until):
    assert [Linear(until=until).at(epoch, 5) for epoch in range(5)] == [2.0, 1.5, 1.0, 0.5, 0.0]


def test_impossible_epochs_are_refused():
    for epoch, num_epochs in [(-1, 10), (10, 10), (0, 0)]:
        with pytest.raises(ValueError, match="epoch must be in"):
            Linear().at(epoch, num_epochs)
