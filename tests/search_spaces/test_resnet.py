"""ResNet's blocks by their keys, what they cost, and the open last stride."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from search_spaces.relaxed import Supernet
from search_spaces.resnet import DEPTHS, ResNet


def student(space, decisions):
    with torch.device("meta"):
        return space.student(Architecture("ResNet", {**space.published().decisions, **decisions}))


def weights_of(block):
    return [
        tuple(m.weight.shape)
        for name, m in block.named_modules()
        if isinstance(m, nn.Conv2d) and not name.startswith("downsample")
    ]


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize(
    ("depth", "kind", "expected"),
    [
        (18, "basic", lambda k: [(128, 64, k, k), (128, 128, k, k)]),
        (18, "bottleneck", lambda k: [(32, 64, 1, 1), (32, 32, k, k), (128, 32, 1, 1)]),
        (18, "separable", lambda k: [(64, 1, k, k), (128, 64, 1, 1), (128, 1, k, k), (128, 128, 1, 1)]),
        (50, "bottleneck", lambda k: [(128, 256, 1, 1), (128, 128, k, k), (512, 128, 1, 1)]),
        (50, "basic", lambda k: [(32, 256, k, k), (512, 32, k, k)]),
        (50, "separable", lambda k: [(256, 1, k, k), (128, 256, 1, 1), (128, 1, k, k), (512, 128, 1, 1)]),
    ],
)
def test_a_block_is_what_its_key_says(depth, kind, expected, k):
    net = student(ResNet(depth=depth), {"layer2.0": f"{kind}{k}"})
    assert weights_of(net.layer2[0]) == expected(k)
    assert net(torch.empty(1, 3, 64, 32, device="meta"))["layer2"].shape[2:] == (8, 4)


def test_a_basic_block_of_resnet_50_costs_what_its_bottleneck_costs():
    space = ResNet(depth=50)
    bottleneck, basic = (
        sum(map(np.prod, weights_of(student(space, {"layer3.1": kind}).layer3[1])))
        for kind in ("bottleneck3", "basic3")
    )
    assert basic / bottleneck == pytest.approx(18 / 17)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_block_is_open_and_skipped_where_it_keeps_size_and_channels(depth):
    options = Supernet.of(ResNet(depth=depth, width=1 / 16)).options
    num_blocks = DEPTHS[depth][0]
    assert list(options) == [f"layer{stage}.{place}" for stage, num in enumerate(num_blocks, 1) for place in range(num)]
    kinds = {f"{kind}{kernel}" for kind in ("basic", "bottleneck", "separable") for kernel in (3, 5)}
    assert all(set(keys) - {"skip"} == kinds for keys in options.values())
    first = {f"layer{stage}.0" for stage in ((2, 3, 4) if depth < 50 else (1, 2, 3, 4))}
    assert {name for name, keys in options.items() if "skip" not in keys} == first


def test_a_searched_network_can_be_much_smaller():
    light = dict.fromkeys(ResNet().published().decisions, "separable3")
    whole, small = (cost(student(ResNet(), decisions), 256, 128) for decisions in ({}, light))
    assert small.parameters < whole.parameters / 6 and small.multiply_adds < whole.multiply_adds / 5


def test_the_last_stride_can_be_asked():
    asked = ResNet(last_stride="open", width=1 / 8)
    images = torch.empty(1, 3, 256, 128, device="meta")
    for stride, size in ((2, (8, 4)), (1, (16, 8))):
        assert student(asked, {"last_stride": stride})(images)["map"].shape[2:] == size
    assert asked.published().decisions["last_stride"] == 2
    assert {asked.sample(np.random.default_rng(seed)).decisions["last_stride"] for seed in range(9)} == {1, 2}
    with pytest.raises(ValueError, match="cannot keep all of last_stride"):
        Supernet.of(asked)
    assert "last_stride" not in replace(asked, last_stride=1).published().decisions


def test_a_stage_of_identities_leaves_the_stem_as_it_is():
    net = (
        ResNet(width=1 / 8)
        .student(Architecture("ResNet", {**ResNet().published().decisions, "layer1.0": "skip", "layer1.1": "skip"}))
        .eval()
    )
    images = torch.randn(1, 3, 32, 32)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)(images)
    assert torch.equal(net(images)["layer1"], stem)
