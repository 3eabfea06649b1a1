"""SDC-CNN's units against naive ones, and the shapes of its maps."""

import pytest
import torch
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.sdc_cnn import SDCCNN, Unit


def convolutions(key):
    """Input and output channels of the second unit's convolutions."""
    space = SDCCNN()
    decisions = {**space.published().decisions, "unit2": key}
    with torch.device("meta"):
        unit = space.student(Architecture("SDCCNN", decisions)).stages()["unit2"][1].body
    return [(conv[2].in_channels, conv[2].out_channels) for conv in unit.convs]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("dense3", [(64, 128), (192, 128), (320, 128)]),
        ("dense2", [(64, 128), (192, 128)]),
        ("plain4", [(64, 128), (128, 128), (128, 128), (128, 128)]),
        ("plain3", [(64, 128), (128, 128), (128, 128)]),
        ("plain2", [(64, 128), (128, 128)]),
    ],
)
def test_a_unit_is_what_its_key_says(key, expected):
    assert convolutions(key) == expected


@pytest.mark.parametrize("dense", [True, False])
def test_a_unit_reads_all_maps_before_or_the_last(dense):
    torch.manual_seed(0)
    unit = Unit(4, 3, length=3, dense=dense).eval()
    x = torch.randn(2, 4, 5, 6)
    maps = [x]
    for norm, _, conv in unit.convs:
        read = torch.cat(maps, dim=1) if dense else maps[-1]
        normalised = (read - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        maps.append(F.conv2d(normalised.clamp(min=0), conv.weight, padding=1))
    torch.testing.assert_close(unit(x), maps[-1])


def test_pools_stand_between_the_units():
    with torch.device("meta"):
        maps = SDCCNN().student()(torch.empty(1, 3, 128, 64, device="meta"))
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        "unit1": (64, 128, 64),
        "unit2": (128, 64, 32),
        "unit3": (192, 32, 16),
        "unit4": (256, 16, 8),
        "unit5": (320, 8, 4),
        "map": (320, 8, 4),
    }


def test_the_last_map_is_rectified():
    maps = SDCCNN(widths=(1 / 16,)).student()(torch.randn(2, 3, 32, 32))
    assert (maps["map"] >= 0).all() and (maps["unit4"] < 0).any()


def test_widths_are_asked_where_there_is_a_choice():
    space = SDCCNN(widths=(1 / 8, 1 / 16))
    asked = {name: answer for name, answer in space.published().decisions.items() if name.endswith(".width")}
    assert asked == {f"unit{place}.width": 1 / 8 for place in range(1, 6)}
    narrow = Architecture("SDCCNN", {**space.published().decisions, "unit3.width": 1 / 16})
    maps = space.student(narrow)(torch.randn(1, 3, 32, 32))
    assert [m.shape[1] for m in maps.values()] == [8, 16, 12, 32, 40, 40]


@pytest.mark.parametrize("widths", [(), (0.001,), (-1.0,)])
def test_widths_that_leave_no_channel_are_refused(widths):
    with pytest.raises(ValueError, match=r"widths must (be .* leave a channel.*at least|each be above 0)"):
        SDCCNN(widths=widths)
