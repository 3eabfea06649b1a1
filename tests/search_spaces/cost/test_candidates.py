"""What a supernet's alphas lead to, against real students and enumeration."""

from itertools import product
from math import exp

import numpy as np
import pytest
import torch

from search_spaces.architecture import all_edges
from search_spaces.cell import Cells
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.cost.counting import cost
from search_spaces.derive import ranked
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import Supernet
from students.reid import ReID
from tests.search_spaces.test_contract import prefer
from tests.search_spaces.test_relaxed import TwoNodes

CELLS = ReID(backbone=Cells(channels=4, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)
SPACES = {
    "cells": CELLS,
    "mobilenet_v2": MobileNetV2(width=0.25),
    "two nodes": TwoNodes(),
    "nas_bench_201": NASBench201(channels=4, cells=1),
}


@pytest.fixture(scope="module", params=SPACES)
def counted(request):
    space = SPACES[request.param]
    return space, MultiplyAdds.counted(space, 32, 16)


def drawn(space):
    torch.manual_seed(0)
    supernet = Supernet.of(space).double()
    with torch.no_grad():
        supernet.alpha.normal_()
    return supernet


@pytest.mark.medium
def test_alphas_that_prefer_one_student_expect_its_cost(counted):
    space, costs = counted
    for seed in range(3):
        architecture = space.sample(np.random.default_rng(seed))
        supernet = Supernet.of(space).double()
        prefer(supernet, architecture, strength=800.0)
        real = cost(space.student(architecture), 32, 16).multiply_adds
        assert costs.expected(supernet).item() == real == costs.predicted(architecture) == costs.real(architecture)


@pytest.mark.medium
def test_the_gradient_is_that_of_differences(counted):
    space, costs = counted
    supernet = drawn(space)
    (gradient,) = torch.autograd.grad(costs.expected(supernet), [supernet.alpha])
    assert gradient.any() and gradient.isfinite().all() and not gradient[supernet.absent].any()
    direction = torch.randn_like(gradient)
    with torch.no_grad():
        supernet.alpha.add_(direction, alpha=1e-5)
        more = costs.expected(supernet)
        supernet.alpha.sub_(direction, alpha=2e-5)
        slope = (more - costs.expected(supernet)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_the_mean_is_over_all_networks_as_they_are_ranked():
    costs, supernet = MultiplyAdds.counted(TwoNodes(), 32, 16), drawn(TwoNodes())
    every = [(exp(score), costs.predicted(architecture)) for score, architecture in ranked(supernet)]
    assert len(every) == 3 * 9 * 6
    mean = sum(weight * predicted for weight, predicted in every) / sum(weight for weight, _ in every)
    assert costs.expected(supernet).item() == pytest.approx(mean, rel=1e-9)


@pytest.mark.medium
def test_alphas_far_away_lead_somewhere():
    """In 32 bits, where each edge's softmax weights underflow but for `none`."""
    costs, supernet = MultiplyAdds.counted(CELLS, 32, 16), Supernet.of(CELLS)
    with torch.no_grad():
        supernet.alpha.zero_()[:, -1] = 300.0
    expected = costs.expected(supernet)
    (gradient,) = torch.autograd.grad(expected, [supernet.alpha])
    fewest, most = costs.bounds()
    assert fewest < expected < most and gradient.isfinite().all()


def test_bounds_are_those_of_all_networks():
    space, costs = TwoNodes(), MultiplyAdds.counted(TwoNodes(), 8, 8)
    offered = dict.fromkeys(range(2), space.keys)
    every = [
        costs.fixed
        + costs.of["op"][op]
        + sum(
            costs.of[f"{name}<{edge[-1]}"][edge[:-2]]
            for name, answer in (("node", node), ("last", last))
            for edge in answer
        )
        for op, node, last in product(space.keys, all_edges(offered, 2), all_edges(offered, 1))
    ]
    assert costs.bounds() == (min(every), max(every)) and min(every) < max(every)
