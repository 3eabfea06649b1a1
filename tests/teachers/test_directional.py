"""Directional pooling against loops over the positions of a map."""

import pytest
import torch

from search_spaces.pick import Fixed
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from teachers.directional import DIRECTIONS, Directed, averaging


def chosen(direction: str, part: int, row: int, column: int, size: int) -> bool:
    """Whether part `part` of a map of size x size, scaled to the paper's 16x16, averages over a position."""
    kernel, stride, band = 10 * size // 16, 2 * size // 16, 8 * size // 16
    if direction in ("horizontal", "vertical"):
        place = row if direction == "horizontal" else column
        return stride * part <= place < stride * part + kernel
    if direction == "anti-diagonal":
        column = size - 1 - column
    offset = column - row if part < 2 else row - column
    return band * (part % 2) <= offset < band * (part % 2 + 1)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", [8, 16, 32])
def test_pooling_of_the_papers_maps_is_the_loop_over_positions(direction, size):
    feature_map = torch.randn(size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    pooled = averaging(direction, size, size).double() @ feature_map.flatten()
    for part in range(4):
        values = [
            feature_map[i, j].item() for i in range(size) for j in range(size) if chosen(direction, part, i, j, size)
        ]
        assert pooled[part].item() == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_main_diagonals_belong_to_two_bands_and_everything_to_one():
    for direction in DIRECTIONS[2:]:
        times = (averaging(direction, 16, 16) > 0).sum(dim=0).reshape(16, 16)
        expected = torch.ones(16, 16, dtype=torch.int64) + torch.eye(16, dtype=torch.int64)
        assert torch.equal(times, expected if direction == "diagonal" else expected.flip(1))


def test_horizontal_and_vertical_are_the_paper_s_average_pools():
    feature_map = torch.randn(2, 3, 16, 16)
    for direction, kernel, stride in (("horizontal", (10, 16), (2, 1)), ("vertical", (16, 10), (1, 2))):
        pooled = averaging(direction, 16, 16) @ feature_map.flatten(2).transpose(1, 2)
        reference = torch.nn.functional.avg_pool2d(feature_map, kernel, stride).flatten(2).transpose(1, 2)
        assert torch.allclose(pooled, reference, atol=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (16, 8), (24, 8), (7, 2)])
def test_maps_of_other_sizes_give_averages_that_use_every_position(direction, size):
    weights = averaging(direction, *size)
    assert weights.shape == (4, size[0] * size[1]) and torch.allclose(weights.sum(dim=1), torch.ones(4))
    assert (weights.sum(dim=0) > 0).all()


def test_a_net_gives_the_four_averages_in_a_row():
    torch.manual_seed(0)
    net = Directed(backbone=ResNet(width=1 / 16, last_stride=1), direction="anti-diagonal").build(Fixed()).eval()
    maps = net(torch.randn(2, 3, 64, 64))
    last = maps["layer4"]
    assert maps["map"].shape == (2, net.out_channels, 1, 1) and net.out_channels == 4 * last.shape[1]
    mirrored = averaging("diagonal", 4, 4) @ last.flip(3).flatten(2).transpose(1, 2)
    assert torch.allclose(maps["map"].reshape(2, 4, -1), mirrored, atol=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="needs a map of at least 2x2, not 1x4: take larger images"):
        averaging("diagonal", 1, 4)
    with pytest.raises(ValueError, match="direction must be one of horizontal, .*, not 'up'"):
        Directed(backbone=ShallowCNN(), direction="up")
