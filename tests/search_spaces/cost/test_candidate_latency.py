"""The latency table on a clock that goes by what is computed: there whole networks are exactly their parts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from search_spaces.cell import Cells
from search_spaces.cost import candidate_latency
from search_spaces.cost import latency as latency_module
from search_spaces.cost.candidate_latency import CandidateLatency, OtherConditions
from search_spaces.cost.latency import Deployment, Eager, Timing
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import NONE
from students.reid import ReID
from tests.search_spaces.test_relaxed import TwoNodes

CELLS = ReID(backbone=Cells(channels=4, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)
SPACES = {
    "cells": CELLS,
    "mobilenet_v2": MobileNetV2(width=0.25),
    "two nodes": TwoNodes(),
    "nas_bench_201": NASBench201(channels=4, cells=1),
}


class Answer(nn.Module):
    """The one tensor of what a network answers that is deployed."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        out = self.net(x)
        return out.feature if hasattr(out, "feature") else out["map"]


TORCH = Deployment(runtime=Eager(), part=Answer)


class Clock:
    """Goes on by `per_layer` seconds for each layer, and about a millisecond more for each thousand numbers that it
    gives, without any rounding."""

    now, per_layer = 0.0, 2**-10

    def tick(self, layer, inputs, output):
        if not list(layer.children()):
            self.now += self.per_layer + output.numel() / 2**20


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency_module, "perf_counter", lambda: clock.now)
    hook = register_module_forward_hook(clock.tick)
    yield clock
    hook.remove()


def measured(space, num_rounds=1):
    return CandidateLatency.measured(space, 32, 16, TORCH, num_rounds)


@pytest.mark.medium
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_whole_networks_take_what_the_table_says(clock, space):
    table = measured(space)
    assert table.error < 1e-9
    architectures = [space.sample(np.random.default_rng(seed)) for seed in range(3)]
    real = [table.real(architecture) for architecture in architectures]
    assert [table.predicted(architecture) for architecture in architectures] == pytest.approx(real)
    assert len(set(real)) > 1 and table.bounds()[0] <= min(real) and max(real) <= table.bounds()[1]


def test_the_line_goes_through_the_first_networks_and_the_error_is_that_of_the_others(clock):
    """Whole networks take half as much again as the sum of their parts and 2 ms more, the others 3 ms more."""
    table = replace(measured(TwoNodes()), fixed=0.0)
    rng, space = np.random.default_rng(0), TwoNodes()
    networks = [space.sample(rng) for _ in range(candidate_latency.NUM_FITTED + candidate_latency.NUM_CHECKED)]
    sums = [table.predicted(network) for network in networks]
    whole = [1.5 * ms + (2 if i < candidate_latency.NUM_FITTED else 3) for i, ms in enumerate(sums)]
    fitted = candidate_latency.fitted(table, networks, whole)
    assert fitted.fixed == pytest.approx(2)
    assert [fitted.predicted(network) for network in networks] == pytest.approx([1.5 * ms + 2 for ms in sums])
    assert fitted.error == pytest.approx(np.mean([1 / ms for ms in whole[candidate_latency.NUM_FITTED :]]))


def test_the_correction_is_bounded_and_none_where_all_networks_are_alike():
    space = TwoNodes()
    rng = np.random.default_rng(0)
    networks = [space.sample(rng) for _ in range(candidate_latency.NUM_FITTED + candidate_latency.NUM_CHECKED)]
    table = replace(measured(space), fixed=0.0)
    sums = [table.predicted(network) for network in networks]
    steep = candidate_latency.fitted(table, networks, [100 * ms for ms in sums])
    options = [(name, option) for name, row in table.of.items() for option in row]
    assert all(steep.of[name][option] == pytest.approx(2 * table.of[name][option]) for name, option in options)
    flat = replace(table, of={name: dict.fromkeys(row, 1.0) for name, row in table.of.items()})
    assert candidate_latency.fitted(flat, networks, range(5, 5 + len(networks))).of == flat.of


@pytest.fixture
def timed(monkeypatch):
    """What is prepared; nothing is run, and each call takes 2 ms, or 1 ms without a candidate."""
    nets = []

    class Runtime(Eager):
        def prepare(self, net, images):
            nets.append(net)
            return 1.0 if getattr(net, "ops", "") is None else 2.0

    def clock(calls, *_):
        return [Timing(median=ms, low=ms, high=ms, processor=ms) for ms in calls]

    monkeypatch.setattr(candidate_latency, "time_calls", clock)
    return nets, Deployment(runtime=Runtime())


def test_equal_candidates_are_timed_once(timed):
    nets, deployment = timed
    table = CandidateLatency.measured(TwoNodes(), 32, 16, deployment)
    assert sum(getattr(net, "ops", None) is not None for net in nets) == len(TwoNodes().keys)
    one = 1 / candidate_latency.NUM_COPIES
    assert all(ms == (0.0 if option == NONE else one) for row in table.of.values() for option, ms in row.items())


def test_candidates_are_timed_as_students_have_them(timed):
    nets, deployment = timed
    CandidateLatency.measured(CELLS, 32, 16, deployment)
    candidates = [net.ops[0] for net in nets if getattr(net, "ops", None) is not None]
    pools = [net for net in candidates if isinstance(getattr(net, "body", None), nn.AvgPool2d)]
    assert pools and all(pool.norm is None for pool in pools)
    assert not any(isinstance(module, nn.BatchNorm2d) for net in candidates for module in net.modules())
    assert not any(net.training for net in nets)


def test_random_numbers_go_on_as_if_nothing_had_been():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    table = measured(TwoNodes())
    table.real(TwoNodes().published())
    assert torch.equal(torch.rand(4), expected)
    assert all(ms >= 0 for row in table.of.values() for ms in row.values())


class TestFile:
    @pytest.mark.medium
    def test_a_table_survives_json(self, clock):
        table = measured(CELLS)
        data = json.loads(json.dumps(table.to_dict()))
        assert CandidateLatency.from_dict(data, CELLS, 32, 16, TORCH) == table

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"device": "abacus"}, "device abacus, here "),
            ({"threads": 77}, "threads 77, here 1"),
            ({"height": 64}, "height 64, here 32"),
            ({"space": "TwoNodes(keys=())"}, "space TwoNodes"),
            ({"ms": {"op": {"sep3": 1.0}}}, "other decisions"),
        ],
    )
    def test_another_machine_or_space_is_named(self, clock, changed, says):
        data = measured(TwoNodes()).to_dict() | changed
        with pytest.raises(OtherConditions, match=says):
            CandidateLatency.from_dict(data, TwoNodes(), 32, 16, TORCH)

    @pytest.mark.parametrize(
        "changed", [{"ms": []}, {"ms": {"op": {"sep3": "fast"}}}, {"fixed_ms": None}, {"error": float("nan")}]
    )
    def test_what_is_no_table_is_refused(self, clock, changed):
        data = measured(TwoNodes()).to_dict() | changed
        with pytest.raises(ValueError, match="latency table") as raised:
            CandidateLatency.from_dict(data, TwoNodes(), 32, 16, TORCH)
        assert not isinstance(raised.value, OtherConditions)
