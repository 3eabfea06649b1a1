"""The expected multiply-adds against real students, and searches that they steer."""

from itertools import product

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from nas.optimisers import Adam
from nas.stage import Machine, Stage
from nas.strategies.darts import DARTS, Price
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from search_spaces.base import all_edges
from search_spaces.cell import Cells
from search_spaces.cost import cost
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import MultiplyAdds
from students.reid import ReID
from tests.nas.test_darts import Classify
from tests.search_spaces.test_contract import prefer
from tests.search_spaces.test_relaxed import TwoNodes

CELLS = ReID(backbone=Cells(channels=4, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)
SPACES = {"cells": CELLS, "mobilenet_v2": MobileNetV2(width=0.25), "two nodes": TwoNodes()}
STRATEGIES = {"darts": DARTS(), "pc_darts": PCDARTS(), "gdas": GDAS()}


@pytest.fixture(scope="module", params=SPACES)
def counted(request):
    space = SPACES[request.param]
    return space, MultiplyAdds(space, 32, 16)


def test_alphas_that_prefer_one_student_expect_its_cost(counted):
    space, costs = counted
    for seed in range(3):
        architecture = space.sample(np.random.default_rng(seed))
        supernet = space.supernet().double()
        prefer(supernet, architecture, strength=800.0)
        real = cost(space.student(architecture), 32, 16).multiply_adds
        assert costs.expected(supernet).item() == real == costs.exact(architecture)


def test_the_gradient_is_that_of_differences(counted):
    space, costs = counted
    torch.manual_seed(0)
    supernet = space.supernet().double()
    with torch.no_grad():
        supernet.alpha.normal_()
    gradient, = torch.autograd.grad(costs.expected(supernet), [supernet.alpha])
    assert gradient.any() and not gradient[supernet.absent].any()
    direction = torch.randn_like(gradient)
    with torch.no_grad():
        supernet.alpha.add_(direction, alpha=1e-5)
        more = costs.expected(supernet)
        supernet.alpha.sub_(direction, alpha=2e-5)
        slope = (more - costs.expected(supernet)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_bounds_are_those_of_all_networks():
    space, costs = TwoNodes(), MultiplyAdds(TwoNodes(), 8, 8)
    offered = {source: space.keys for source in range(2)}
    every = [costs.fixed + costs.of["op"][op] + sum(costs.of[f"{name}<{edge[-1]}"][edge[:-2]] for name, answer in
                                                    (("node", node), ("last", last)) for edge in answer)
             for op, node, last in product(space.keys, all_edges(offered, 2), all_edges(offered, 1))]
    assert costs.bounds() == (min(every), max(every)) and min(every) < max(every)


@pytest.mark.parametrize("kind", STRATEGIES)
def test_every_strategy_expects_what_the_students_of_the_space_cost(kind):
    """Not what its own supernet does, which sees a part of the channels or one path."""
    costs = MultiplyAdds(CELLS, 32, 16)
    supernet = STRATEGIES[kind].supernet(CELLS).double()
    weights = supernet.alphas()
    expected = sum(weights[name][op] * count for name, row in costs.of.items() for op, count in row.items())
    assert costs.expected(supernet).item() == pytest.approx(costs.fixed + expected)


class Nothing(Classify):
    """An objective without any wish for the alphas."""

    def loss(self, net, pictures, epoch):
        return {"total": net(pictures.images)["map"].square().mean()}

    def alpha_loss(self, net, pictures, epoch):
        return {"total": 0.0 * net.weights().sum()}


class TestSearch:
    costs = MultiplyAdds(TwoNodes(), 32, 16)

    def search(self, folder, **options):
        stage = Stage(folder, "search", "", Machine(device="cpu"), Fabric(accelerator="cpu", devices=1))
        torch.manual_seed(0)
        alphas = Adam(lr=0.2, weight_decay=0.0)
        return DARTS(epochs=10, alphas=alphas, **options).search(TwoNodes(), Nothing(num_steps=4), stage)

    def test_a_weight_alone_makes_the_network_cheap(self, tmp_path):
        found = self.search(tmp_path, cost_weight=1e4)
        first, last = (found.history[i]["multiply_adds"] for i in (0, -1))
        fewest, most = self.costs.bounds()
        assert last["expected"] < first["expected"] / 4 and last["expected"] < most / 10
        assert last["predicted"] == fewest == self.costs.exact(found.best)
        assert found.history[-1]["alpha"]["total"] == found.history[-1]["alpha"]["price"] > 0

    def test_a_target_is_come_near(self, tmp_path):
        target = 3 * sum(self.costs.bounds()) / 4
        found = self.search(tmp_path, cost_weight=1.0, target_multiply_adds=target)
        assert self.costs.expected(TwoNodes().supernet()).item() < target / 2
        assert found.history[-1]["multiply_adds"]["expected"] == pytest.approx(target, rel=0.1)

    def test_a_target_out_of_reach_is_said(self):
        costs = MultiplyAdds(CELLS, 32, 16)
        fewest, most = costs.bounds()
        with pytest.warns(UserWarning, match=f"no network of this space has 1 multiply-adds, .* goes for {fewest:g}"):
            assert Price(costs, 1.0, 1.0).target == fewest
        with pytest.warns(UserWarning, match=f"no network of this space has 1e.12 multiply-adds, .* goes for {most:g}"):
            assert Price(costs, 1.0, 1e12).target == most


@pytest.mark.parametrize("wrong", [{"cost_weight": -1.0}, {"target_multiply_adds": 1e9},
                                   {"cost_weight": 1.0, "target_multiply_adds": 0.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="cost_weight must be at least 0"):
        DARTS(**wrong)
