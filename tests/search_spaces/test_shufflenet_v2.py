"""ShuffleNetV2's units: what their keys say, and a supernet on images of any size."""

import numpy as np
import pytest
import torch

from search_spaces.architecture import Architecture
from search_spaces.relaxed import Supernet
from search_spaces.shufflenet_v2 import CHANNELS, ShuffleNetV2, shuffled


def unit(stage, place, key):
    space = ShuffleNetV2()
    decisions = {**space.published().decisions, f"{stage}.{place}": key}
    with torch.device("meta"):
        return getattr(space.student(Architecture("ShuffleNetV2", decisions)), stage)[place]


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("split", [25, 50, 75])
def test_a_unit_is_what_its_key_says(kernel, split):
    passed = 232 * split // 100
    halving, plain = (unit("stage3", place, f"k{kernel}s{split}") for place in (0, 1))
    assert len(plain.branch1) == 0
    assert plain.branch2[0].weight.shape == (232 - passed, 232 - passed, 1, 1)
    assert plain.branch2[3].weight.shape == (232 - passed, 1, kernel, kernel)
    assert halving.branch1[0].weight.shape == (116, 1, kernel, kernel)
    assert halving.branch1[2].out_channels == passed
    assert halving.branch2[0].weight.shape == (232 - passed, 116, 1, 1)


@pytest.mark.parametrize("num_first", [1, 3, 4, 7])
def test_the_halves_of_the_channels_take_turns(num_first):
    x = torch.randn(2, 8, 3, 5)
    mixed = shuffled(x[:, :num_first], x[:, num_first:])
    for place in range(8):
        assert torch.equal(mixed[:, place], x[:, place // 2 + 4 * (place % 2)])


def test_a_unit_passes_its_first_channels_on():
    torch.manual_seed(0)
    space = ShuffleNetV2(width=0.25)
    decisions = {**space.published().decisions, "stage3.1": "k5s25"}
    net = space.student(Architecture("ShuffleNetV2", decisions)).eval()
    x = torch.randn(1, 56, 6, 4)
    assert torch.equal(net.stage3[1](x)[:, :28:2], x[:, :14])


def test_units_that_keep_size_and_channels_can_be_skipped():
    options = Supernet.of(ShuffleNetV2(width=0.1)).options
    assert list(options) == [f"stage{stage}.{place}" for stage, num in ((2, 4), (3, 8), (4, 4)) for place in range(num)]
    assert [name for name, keys in options.items() if "skip" not in keys] == ["stage2.0", "stage3.0", "stage4.0"]


@pytest.mark.medium
@pytest.mark.parametrize("width", [*CHANNELS, 0.05, 0.3])
def test_every_width_can_be_split_and_shuffled(width):
    space = ShuffleNetV2(width=width)
    with torch.device("meta"):
        for seed in range(3):
            net = space.student(space.sample(np.random.default_rng(seed)))
            assert net(torch.empty(2, 3, 64, 32))["stage3"].shape[1] % 4 == 0


def test_the_last_stride_keeps_the_map():
    torch.manual_seed(0)
    space = ShuffleNetV2(width=0.1, last_stride=1)
    assert "skip" not in Supernet.of(space).options["stage4.0"]
    for seed in range(2):
        net = space.student(space.sample(np.random.default_rng(seed)))
        assert [tuple(m.shape[2:]) for m in net(torch.randn(2, 3, 64, 32)).values()] == [(8, 4), (4, 2), (4, 2), (4, 2)]


@pytest.mark.medium
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_supernet_takes_a_single_image_of_an_odd_size(folded, autocast):
    torch.manual_seed(0)
    net = Supernet.of(ShuffleNetV2(width=0.1), folded=folded)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        maps = net(torch.randn(1, 3, 75, 43))
    assert [tuple(m.shape[2:]) for m in maps.values()] == [(10, 6), (5, 3), (3, 2), (3, 2)]
    sum(m.float().pow(2).mean() for m in maps.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"width": 0}, "width must be above 0"), ({"last_stride": 3}, "must be one of 1, 2")],
)
def test_impossible_constants_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNetV2(**wrong)
