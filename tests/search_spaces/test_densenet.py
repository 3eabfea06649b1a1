"""DenseNet against torchvision's, its layers by their keys, and the open last stride."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.densenet import DenseNet
from search_spaces.relaxed import Supernet

SMALL = DenseNet(blocks=(1, 2, 1, 2), growth=4)


def student(space, **decisions):
    return space.student(Architecture("DenseNet", {**space.published().decisions, **decisions}))


def weights_of(layer):
    return [tuple(m.weight.shape) for m in layer.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("space", "torchvisions"),
    [
        (DenseNet(), torchvision.models.densenet121),
        (DenseNet(blocks=(6, 12, 32, 32)), torchvision.models.densenet169),
        (DenseNet(blocks=(6, 12, 48, 32)), torchvision.models.densenet201),
        (DenseNet(blocks=(6, 12, 36, 24), growth=48), torchvision.models.densenet161),
    ],
    ids=["121", "169", "201", "161"],
)
def test_names_and_shapes_are_torchvisions(space, torchvisions):
    with torch.device("meta"):
        mine, theirs = space.student().state_dict(), torchvisions().state_dict()
    assert f"densenet{space.title.split('-')[1][:3]}" == torchvisions.__name__
    assert {name: w.shape for name, w in mine.items()} == {
        name: w.shape for name, w in theirs.items() if not name.startswith("classifier.")
    }


def test_a_student_from_scratch_starts_as_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.DenseNet(growth_rate=16, block_config=(2, 2, 2, 2), num_init_features=32).state_dict()
    for name, weight in DenseNet(blocks=(2, 2, 2, 2), growth=16).student().named_parameters():
        if weight.numel() > 3000:
            assert weight.std().item() == pytest.approx(theirs[name].std().item(), rel=0.1)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_layer_is_what_its_key_says(kernel):
    expected = {
        "bottleneck": [(128, 96, 1, 1), (32, 128, kernel, kernel)],
        "basic": [(32, 96, kernel, kernel)],
        "separable": [(128, 96, 1, 1), (128, 1, kernel, kernel), (32, 128, 1, 1)],
    }
    for kind, shapes in expected.items():
        with torch.device("meta"):
            net = student(DenseNet(blocks=(2, 1, 1, 1)), **{"denseblock1.denselayer2": f"{kind}{kernel}"})
        assert weights_of(net.features.denseblock1["denselayer2"]) == shapes


def test_a_skipped_layer_costs_nothing_and_passes_the_newest_maps_on():
    net = student(SMALL, **{"denseblock2.denselayer2": "skip"}).eval()
    block = net.features.denseblock2
    assert not list(block["denselayer2"].parameters())
    x = torch.randn(2, 6, 5, 3)
    assert torch.equal(block(x), torch.cat([x, *2 * [block["denselayer1"](x)]], dim=1))


def test_every_layer_is_open_and_nothing_else():
    options = Supernet.of(SMALL).options
    assert list(options) == [
        f"denseblock{block}.denselayer{layer}"
        for block, num in enumerate((1, 2, 1, 2), 1)
        for layer in range(1, num + 1)
    ]
    assert set(options.values()) == {
        ("bottleneck3", "bottleneck5", "basic3", "basic5", "separable3", "separable5", "skip")
    }


def test_the_last_stride_can_be_given_or_asked():
    images = torch.empty(1, 3, 256, 128, device="meta")
    asked = replace(SMALL, last_stride="open")
    for stride, height in ((2, 8), (1, 16)):
        with torch.device("meta"):
            for net in (replace(SMALL, last_stride=stride).student(), student(asked, last_stride=stride)):
                assert net(images)["map"].shape[2:] == (height, height // 2)
    assert asked.published().decisions["last_stride"] == 2
    assert {asked.sample(np.random.default_rng(seed)).decisions["last_stride"] for seed in range(9)} == {1, 2}
    with pytest.raises(ValueError, match="cannot keep all of last_stride"):
        Supernet.of(asked)


@pytest.mark.medium
def test_named_maps_halve_with_the_stages():
    with torch.device("meta"):
        maps = DenseNet().student()(torch.empty(1, 3, 256, 128, device="meta"))
    assert {name: (m.shape[1], m.shape[2]) for name, m in maps.items()} == {
        "denseblock1": (256, 64),
        "denseblock2": (512, 32),
        "denseblock3": (1024, 16),
        "denseblock4": (1024, 8),
        "map": (1024, 8),
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blocks": (6, 12, 24)}, "blocks must have 4 items"),
        ({"blocks": (6, 0, 24, 16)}, "each be at least 1"),
        ({"growth": 0}, "growth must be at least 1"),
        ({"last_stride": 3}, "last_stride must be one of 1, 2"),
    ],
)
def test_impossible_constants_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DenseNet(**wrong)
