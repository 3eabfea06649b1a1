"""MobileNetV2's width, when it is open."""

import numpy as np
import pytest

from search_spaces.architecture import Architecture
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import Supernet

SPACE = MobileNetV2(width=0.5, other_widths=(0.25, 1.0))


def num_parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_first_width_is_the_published_one():
    assert num_parameters(SPACE.student()) == num_parameters(MobileNetV2(width=0.5).student())
    assert SPACE.published().decisions["width"] == 0.5
    assert "width" not in MobileNetV2().published().decisions


@pytest.mark.medium
def test_another_width_makes_that_network():
    published = SPACE.published().decisions
    for width in SPACE.other_widths:
        chosen = SPACE.student(Architecture("MobileNetV2", {**published, "width": width}))
        assert num_parameters(chosen) == num_parameters(MobileNetV2(width=width).student())
    found = {SPACE.sample(np.random.default_rng(seed)).decisions["width"] for seed in range(20)}
    assert found == {0.25, 0.5, 1.0}


def test_a_supernet_cannot_keep_all_widths():
    with pytest.raises(ValueError, match="cannot keep all of width = "):
        Supernet.of(SPACE)
