"""Zero-cost proxies against naive loops, and what holds of them on paper."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.strategies.proxies import JACOBIAN_SHIFT, WORST, estimate, jacob_cov, layer_weights, naswot, synflow, zico
from search_spaces.nas_bench_201 import NASBench201
from students.reid import ReID
from tests.nas.strategies.toys import batch

IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    """A small convolutional network, rectified once by a module and once by a function."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 6, 3, bias=False)
        self.last = nn.Linear(6, 3, bias=False)
        self.codes: list[torch.Tensor] = []
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.relu(self.norm(self.first(x)))
        other = F.relu6(self.second(one))
        self.codes = [one > 0, other > 0]
        return self.last(other.mean(dim=(2, 3)))


def linear(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(*pair, bias=False) for pair in pairwise(widths))).double()


class TestSynFlow:
    def test_of_a_linear_net_it_is_what_flows_from_ones_through_sizes_once_for_each_layer(self):
        """Each layer's saliencies sum to the flow itself (conservation, Tanaka et al., section 4)."""
        net = linear(4, 5, 3, 2)
        flow = np.ones(4)
        for layer in net:
            flow = np.abs(layer.weight.detach().numpy()) @ flow
        assert synflow(net, torch.randn(1, 4)) == pytest.approx(math.log1p(3 * flow.sum()), rel=1e-12)

    def test_it_is_a_naive_sum_over_all_weights(self):
        """By how much the flow falls without a weight: the flow of a linear net is linear in each."""
        net = linear(3, 2, 2)

        def flow() -> float:
            sizes = [layer.weight.detach().abs() for layer in net]
            return float((sizes[1] @ sizes[0]).sum())

        total = 0.0
        for layer in net:
            for place in np.ndindex(*layer.weight.shape):
                kept = layer.weight.data[place].item()
                whole = flow()
                layer.weight.data[place] = 0.0
                total += whole - flow()
                layer.weight.data[place] = kept
        assert synflow(net, torch.zeros(1, 3)) == pytest.approx(math.log1p(total), rel=1e-12)

    def test_neither_signs_nor_images_nor_norms_matter_and_the_net_stays_as_it_is(self):
        net = Net().float()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        images = IMAGES[:1].float()
        found = synflow(net, images)
        assert found == synflow(net, 7 * images)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        with torch.no_grad():
            net.norm.weight.mul_(3.0)
            net.first.weight.neg_()
        assert synflow(net, images) == found

    def test_a_relu6_bounds_nothing(self):
        first, last = linear(4, 50, 3)
        bounded, free = (nn.Sequential(first, curve, last) for curve in (nn.ReLU6(), nn.ReLU()))
        with torch.no_grad():
            first.weight.fill_(5.0)
        assert synflow(bounded, torch.zeros(1, 4)) == synflow(free, torch.zeros(1, 4)) > 1

    def test_a_hundred_layers_are_still_finite(self):
        assert math.isfinite(synflow(linear(*[64] * 100), torch.zeros(1, 64)))


def naive_jacob_cov(net: nn.Module, images: torch.Tensor) -> float:
    """Each gradient, correlation and eigenvalue by itself."""
    rows = []
    for place in range(len(images)):
        own = images.clone().requires_grad_()
        net(own).sum().backward()
        rows.append(own.grad[place].flatten().numpy())
    correlations = np.array(
        [[np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()) for b in rows] for a in rows]
    )
    values = np.linalg.eigvals(correlations).real
    return -sum(math.log(v + JACOBIAN_SHIFT) + 1 / (v + JACOBIAN_SHIFT) for v in values)


def naive_naswot(net: Net, images: torch.Tensor) -> float:
    net(images)
    codes = torch.cat([code.flatten(1) for code in net.codes], dim=1).tolist()
    kernel = [[sum(a == b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    return math.log(abs(np.linalg.det(np.array(kernel, dtype=np.float64))))


def naive_zico(gradients: list[list[np.ndarray]]) -> float:
    """`gradients[batch][layer]`."""
    total = 0.0
    for layer in range(len(gradients[0])):
        inside = 0.0
        for place in np.ndindex(*gradients[0][layer].shape):
            sizes = [abs(of_batch[layer][place]) for of_batch in gradients]
            mean = sum(sizes) / len(sizes)
            deviation = math.sqrt(sum((size - mean) ** 2 for size in sizes) / len(sizes))
            if deviation > 0:
                inside += mean / deviation
        if inside > 0:
            total += math.log(inside)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_jacob_cov_is_its_naive_loop(seed):
    net = Net(seed)
    assert jacob_cov(net, IMAGES) == pytest.approx(naive_jacob_cov(net, IMAGES), rel=1e-6)


def test_images_that_a_net_tells_apart_have_the_better_jacob_cov():
    blind, sees = linear(16, 3), nn.Sequential(*linear(16, 30), nn.ReLU(), *linear(30, 3))
    images = torch.randn(6, 16, dtype=torch.float64)
    assert jacob_cov(sees, images) > jacob_cov(blind, images)


@pytest.mark.parametrize("seed", range(3))
def test_naswot_is_its_naive_loop(seed):
    net = Net(seed)
    assert naswot(net, IMAGES) == pytest.approx(naive_naswot(net, IMAGES), rel=1e-9)


def test_naswot_needs_something_rectified():
    with pytest.raises(ValueError, match="naswot counts ReLUs, and this network has none"):
        naswot(linear(4, 2), torch.randn(3, 4, dtype=torch.float64))


def test_zico_is_its_naive_double_loop():
    """One weight is out of reach and one has the same gradient in every batch: both are left out."""
    net = Net()
    lost = nn.Linear(2, 2).double()
    weights = [*layer_weights(net), lost.weight]
    images = [torch.randn(4, 3, 8, 8, dtype=torch.float64) for _ in range(3)]
    gradients = [
        [g.numpy() for g in torch.autograd.grad(net(x).square().sum(), weights, materialize_grads=True)] for x in images
    ]
    expected = naive_zico(gradients)
    assert zico(weights, (net(x).square().sum() for x in images)) == pytest.approx(expected, rel=1e-9)
    assert len(weights) == 4 and expected != 0
    same = [images[0]] * 3
    assert zico(weights, (net(x).square().sum() for x in same)) == 0.0


@pytest.mark.parametrize("proxy", ["synflow", "jacob_cov", "naswot", "zico"])
class TestEstimate:
    space = ReID(backbone=NASBench201(channels=2, cells=1), num_ids=4, embedding_dim=None)
    batches = (batch(0), batch(1))

    def estimate(self, proxy, op: str) -> float:
        torch.manual_seed(0)
        empty = self.space.published()
        net = self.space.student(replace(empty, decisions=dict.fromkeys(empty.decisions, op)))

        class Features(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return self.net(images).feature

        before = {name: value.clone() for name, value in net.state_dict().items()}
        found = estimate(
            proxy, net, Features(), self.batches, lambda given: F.cross_entropy(net(given.images).logits, given.labels)
        )
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if "num_" not in name)
        return found

    def test_what_lets_nothing_through_is_worth_less_than_what_convolves(self, proxy):
        dead, alive = self.estimate(proxy, "none"), self.estimate(proxy, "conv3")
        assert WORST <= dead < alive and math.isfinite(alive)
        assert alive == self.estimate(proxy, "conv3")
