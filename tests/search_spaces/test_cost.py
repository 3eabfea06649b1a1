"""The counter against published counts and products written out by hand; thop's difference as documented."""

import copy
from collections import namedtuple

import pytest
import torch
import torchvision
from torch import nn

from search_spaces.cost import cost, thop_cost

PUBLISHED = {  # parameters, multiply-adds at 224x224, what thop adds
    "resnet18": (11_689_512, 1_814_073_344, 0.0055),
    "resnet50": (25_557_032, 4_089_184_256, 0.0109),
    "mobilenet_v2": (3_504_872, 300_774_272, 0.0888),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request):
    return getattr(torchvision.models, request.param)(), *PUBLISHED[request.param]


def test_published_counts(published):
    net, parameters, multiply_adds, _ = published
    counted = cost(net, 224, 224)
    assert counted.parameters == parameters
    assert counted.multiply_adds == pytest.approx(multiply_adds, rel=1e-3)
    assert (counted.height, counted.width) == (224, 224)


def test_thop_adds_what_is_documented(published):
    net, parameters, multiply_adds, surplus = published
    counted = thop_cost(net, 224, 224)
    assert counted.parameters == parameters
    assert counted.multiply_adds / multiply_adds - 1 == pytest.approx(surplus, abs=1e-3)


def separable(channels):
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        x = x.flatten(2).mT
        return self.attention(x, x, x)


LAYERS = [  # layer, c_in, products on 6x4
    (nn.Conv2d(3, 8, 3, padding=1), 3, 6 * 4 * 8 * 3 * 9),
    (nn.Conv2d(3, 8, 3, stride=2, padding=1), 3, 3 * 2 * 8 * 3 * 9),
    (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), 8, 6 * 4 * 8 * 2 * 9),
    (nn.ConvTranspose2d(4, 8, 2, stride=2), 4, 6 * 4 * 4 * 8 * 4),
    (separable(16), 16, 6 * 4 * 16 * (9 + 16)),
    (nn.Sequential(nn.Flatten(), nn.Linear(3 * 24, 5)), 3, 3 * 24 * 5),
    (Attention(), 16, 4 * 24 * 16 * 16 + 2 * 24 * 24 * 16),
    (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), 3, 0),
]


@pytest.mark.parametrize(("layer", "c_in", "products"), LAYERS, ids=lambda value: type(value).__name__)
def test_products_of_a_layer(layer, c_in, products):
    assert cost(layer, 6, 4, c_in).multiply_adds == products


@pytest.mark.parametrize(
    ("layer", "c_in", "ratio"),
    [(separable(16), 16, 1.16), (Attention(), 16, 0), (nn.ConvTranspose2d(4, 8, 2, stride=2), 4, 4)],
)
def test_thop_errs_as_documented(layer, c_in, ratio):
    assert thop_cost(layer, 6, 4, c_in).multiply_adds == ratio * cost(layer, 6, 4, c_in).multiply_adds


@pytest.mark.parametrize("count", [cost, thop_cost])
@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_alone(count, training):
    net = separable(4).train(training)
    before = copy.deepcopy(net.state_dict())
    fast_path = torch.backends.mha.get_fastpath_enabled()
    count(net, 6, 4, 4)
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert {module.training for module in net.modules()} == {training}
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


Outputs = namedtuple("Outputs", ["embedding", "logits"])
PACKINGS = [lambda a, b: (a, b), lambda a, b: {"embedding": a, "logits": b}, Outputs, lambda a, b: [a, None, {"b": b}]]


class TwoHeads(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.pack = pack
        self.conv = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        embedding = self.conv(x).mean(dim=(2, 3))
        return self.pack(embedding, self.head(embedding))


@pytest.mark.parametrize("pack", PACKINGS)
def test_forward_may_return_anything(pack):
    assert cost(TwoHeads(pack), 6, 4).multiply_adds == 6 * 4 * 3 * 8 + 8 * 5
    assert thop_cost(TwoHeads(pack), 6, 4).multiply_adds == 6 * 4 * 3 * 8 + 8 * 5


def test_shares_by_type_of_layer():
    convolution, linear = 6 * 4 * 3 * 8, 8 * 5
    shares = cost(TwoHeads(Outputs), 6, 4).by_type
    assert shares == {"Conv2d": convolution / (convolution + linear), "Linear": linear / (convolution + linear)}
    assert cost(Attention(), 6, 4, 16).by_type == {"functions": 1.0}
    assert cost(nn.ReLU(), 6, 4).by_type == {}


def test_a_half_precision_network_costs_the_same():
    assert cost(separable(4).half(), 6, 4, 4) == cost(separable(4), 6, 4, 4)
