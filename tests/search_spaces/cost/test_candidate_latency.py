"""The latency table on a clock that goes by what is computed: there whole networks are exactly their parts."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from search_spaces.cell import Cells
from search_spaces.cost import candidate_latency
from search_spaces.cost import latency as latency_module
from search_spaces.cost.candidate_latency import CandidateLatency, OtherConditions
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
CPU = torch.device("cpu")


class Clock:
    """Goes on by `per_layer` seconds for each layer, and a millisecond more for each thousand numbers that it gives."""

    now, per_layer = 0.0, 1e-3

    def tick(self, layer, inputs, output):
        if not list(layer.children()):
            self.now += self.per_layer + output.numel() / 1e6


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency_module, "perf_counter", lambda: clock.now)
    hook = register_module_forward_hook(clock.tick)
    yield clock
    hook.remove()


def measured(space, num_rounds=1):
    return CandidateLatency.measured(space, 32, 16, CPU, num_rounds)


@pytest.mark.medium
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_whole_networks_take_what_the_table_says(clock, space):
    table = measured(space)
    assert table.error < 1e-9
    architectures = [space.sample(np.random.default_rng(seed)) for seed in range(3)]
    real = [table.real(architecture) for architecture in architectures]
    assert [table.predicted(architecture) for architecture in architectures] == pytest.approx(real)
    assert len(set(real)) > 1 and table.bounds()[0] <= min(real) and max(real) <= table.bounds()[1]


def test_the_error_is_that_of_networks_the_table_is_not_from(clock):
    """The first ones measured take 2 ms more than the sum of their parts, the others 3 ms more."""
    table = measured(TwoNodes())
    space = TwoNodes()
    rng = np.random.default_rng(0)
    networks = [space.sample(rng) for _ in range(candidate_latency.NUM_FITTED + candidate_latency.NUM_CHECKED)]
    sums = [table.predicted(network) - table.fixed for network in networks]
    whole = [ms + (2 if place < candidate_latency.NUM_FITTED else 3) for place, ms in enumerate(sums)]
    fitted = candidate_latency.fitted(table, networks, whole)
    assert fitted.fixed == pytest.approx(2)
    assert fitted.error == pytest.approx(np.mean([1 / ms for ms in whole[candidate_latency.NUM_FITTED :]]))


def test_equal_candidates_are_timed_once(monkeypatch):
    timed = []
    monkeypatch.setattr(candidate_latency, "medians", lambda calls, *_: timed.extend(calls) or [1.0] * len(calls))
    table = measured(TwoNodes())
    assert len(timed) - candidate_latency.NUM_FITTED - candidate_latency.NUM_CHECKED == len(TwoNodes().keys)
    assert all(ms == (0.0 if option == NONE else 1.0) for row in table.of.values() for option, ms in row.items())


def test_candidates_are_timed_as_students_have_them(monkeypatch):
    timed = []
    monkeypatch.setattr(candidate_latency, "medians", lambda calls, *_: timed.extend(calls) or [1.0] * len(calls))
    measured(CELLS)
    nets = [call.func for call in timed]
    pools = [net for net in nets if isinstance(getattr(net, "body", None), nn.AvgPool2d)]
    norms = [module for net in nets for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert pools and all(pool.norm is None for pool in pools) and norms and all(norm.affine for norm in norms)
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
        assert CandidateLatency.from_dict(data, CELLS, 32, 16, CPU) == table

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
            CandidateLatency.from_dict(data, TwoNodes(), 32, 16, CPU)

    @pytest.mark.parametrize(
        "changed", [{"ms": []}, {"ms": {"op": {"sep3": "fast"}}}, {"fixed_ms": None}, {"error": float("nan")}]
    )
    def test_what_is_no_table_is_refused(self, clock, changed):
        data = measured(TwoNodes()).to_dict() | changed
        with pytest.raises(ValueError, match="latency table") as raised:
            CandidateLatency.from_dict(data, TwoNodes(), 32, 16, CPU)
        assert not isinstance(raised.value, OtherConditions)
