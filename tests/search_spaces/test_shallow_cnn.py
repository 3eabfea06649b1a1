"""The shallow CNN's layers: what their decisions say, widths, and the places where its end can be repeated."""

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.relaxed import Supernet
from search_spaces.shallow_cnn import LAYERS, ShallowCNN


def student(**changes):
    space = ShallowCNN()
    decisions = {name.replace("_", "."): answer for name, answer in changes.items()}
    with torch.device("meta"):
        return space.student(Architecture("ShallowCNN", {**space.published().decisions, **decisions}))


def convolutions(stage):
    return [tuple(m.weight.shape) for m in stage.modules() if isinstance(m, nn.Conv2d)]


def test_the_published_layers_are_the_papers():
    plain = ShallowCNN().student().eval()
    papers, c_in = nn.Sequential(), 3
    for channels, kernel in zip((32, 64, 128, 192, 256), (5, 5, 3, 3, 3), strict=True):
        papers.extend(
            [
                nn.Conv2d(c_in, channels, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, 1),
            ]
        )
        c_in = channels
    papers.load_state_dict(dict(zip(papers.state_dict(), plain.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(plain(images)["map"], papers.eval()(images))


def test_each_layer_halves_its_map():
    maps = student()(torch.empty(1, 3, 128, 96, device="meta"))
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        "layer1": (32, 64, 48),
        "layer2": (64, 32, 24),
        "layer3": (128, 16, 12),
        "layer4": (192, 8, 6),
        "layer5": (256, 4, 3),
        "map": (256, 4, 3),
    }


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_kernel_is_what_its_key_says(kernel):
    stages = student(layer2_kernel=f"k{kernel}").stages()
    assert convolutions(stages["layer2"]) == [(64, 32, kernel, kernel)]
    assert convolutions(stages["layer3"]) == [(128, 64, 3, 3)]


def test_a_second_convolution_makes_the_network_deeper():
    assert convolutions(student(layer3_second="k3").stages()["layer3"]) == [(128, 64, 3, 3), (128, 128, 3, 3)]


def test_a_layer_can_pool_by_average():
    ones = torch.ones(1, 32, 4, 4)
    pools = {kind: student(layer1_pool=kind).stages()["layer1"][-1] for kind in ("max3", "avg3")}
    ramp = ones.cumsum(dim=3)
    assert torch.equal(pools["max3"](ramp)[0, 0, 0], torch.tensor([2.0, 4.0]))
    assert torch.equal(pools["avg3"](ramp)[0, 0, 0], torch.tensor([1.5, 3.0]))


def test_widths_are_asked_where_there_is_a_choice():
    space = ShallowCNN(widths=(1.0, 0.5))
    assert {f"layer{place}.width" for place in range(1, 6)} <= space.published().decisions.keys()
    assert space.published().decisions["layer1.width"] == 1.0
    sampled = space.sample(np.random.default_rng(0))
    with torch.device("meta"):
        stages = space.student(sampled).stages()
    for place, (_, channels) in enumerate(LAYERS, 1):
        last = convolutions(stages[f"layer{place}"])[-1]
        assert last[0] == channels * sampled.decisions[f"layer{place}.width"]
    with pytest.raises(ValueError, match=r"cannot keep all of layer1\.width"):
        Supernet.of(space)
    assert "width" not in str(ShallowCNN(widths=(0.5,)).published().decisions)


@pytest.mark.parametrize("widths", [(), (0.0,), (1.0, 0.001), (-1.0,)])
def test_widths_that_leave_no_channel_are_refused(widths):
    with pytest.raises(ValueError, match="widths must (each be above 0|be one or more multipliers)"):
        ShallowCNN(widths=widths)
