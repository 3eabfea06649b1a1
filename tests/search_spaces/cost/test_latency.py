"""Latency with a clock and a network that can be watched."""

import pytest
import torch
from torch import nn

from search_spaces.cost import latency as latency_module
from search_spaces.cost.latency import Eager, latency, time_calls


class Slow(nn.Module):
    """Its n-th forward takes `seconds[n]` on the test's clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.inputs = clock, seconds, []

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.inputs.append((x.shape, x.requires_grad, torch.is_inference_mode_enabled(), self.training))
        self.clock[0] += self.seconds[len(self.inputs) - 1]


def test_latency_is_the_median_per_image_after_the_warm_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(latency_module, "perf_counter", lambda: clock[0])
    net = Slow(clock, [7.0, 100.0, 50.0, 0.25, 0.5, 8.0])  # the first is the look that `deploy` takes
    timing = latency(net, 12, 6, Eager(), batch_size=4, num_warmup=2, num_runs=3)
    assert timing.median == pytest.approx(1000 * 0.5 / 4)
    assert 1000 * 0.25 / 4 <= timing.low < timing.median < timing.high <= 1000 * 8 / 4
    assert net.inputs[-5:] == [((4, 3, 12, 6), False, True, False)] * 5


def test_the_network_is_left_alone():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert latency(net, 12, 6, Eager(), batch_size=2, num_warmup=1, num_runs=2).median > 0
    assert net.training and net[1].num_batches_tracked == 0


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"num_warmup": -1}, {"num_runs": 0}])
def test_counts_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        latency(nn.ReLU(), 12, 6, Eager(), **wrong)


def test_of_several_calls_the_second_in_each_turn_counts(monkeypatch):
    clock, made = [0.0], []
    monkeypatch.setattr(latency_module, "perf_counter", lambda: clock[0])

    def call(name, cold, warm):
        def run():
            clock[0] += cold if made.count(name) % 2 == 0 else warm
            made.append(name)

        return run

    one, two = time_calls([call("one", 9.0, 1.0), call("two", 9.0, 2.0)], num_warmup=1, num_rounds=2)
    assert made == ["one", "one", "two", "two"] * 3
    assert (one.median, two.median) == (pytest.approx(1000), pytest.approx(2000))
