"""SDC-CNN, a shortly and densely connected CNN (Zhu et al. 2018), with every unit open: a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Pick
from search_spaces.ranges import Multiplier
from search_spaces.shallow_cnn import StageNet, check_widths
from search_spaces.space import SearchSpace

CHANNELS = (64, 128, 192, 256, 320)
"""Channels of each unit; the stem has the first's."""

UNITS = {"dense3": (3, True), "dense2": (2, True), "plain4": (4, False), "plain3": (3, False), "plain2": (2, False)}
"""Number of convolutions of each candidate, and whether they are densely connected; the first is the published."""


class Unit(nn.Module):
    """3x3 convolutions, each behind BatchNorm and ReLU; the last one's map comes out.

    Densely connected, each reads the unit's input and all maps before it; else only the map before it.
    """

    def __init__(self, c_in: int, channels: int, length: int, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        self.convs = nn.ModuleList()
        for _ in range(length):
            self.convs.append(
                nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, channels, 3, padding=1, bias=False))
            )
            c_in = c_in + channels if dense else channels

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs[:-1]:
            x = torch.cat([x, conv(x)], dim=1) if self.dense else conv(x)
        return self.convs[-1](x)


def unit(c_in: int, channels: int, length: int, dense: bool, affine: bool) -> ops.Op:
    """A candidate. In a supernet its map is normalised like the others'."""
    norm = None if affine else nn.BatchNorm2d(channels, affine=False)
    return ops.Op(Unit(c_in, channels, length, dense), channels, norm, relu=False)


@dataclass(frozen=True, kw_only=True)
class SDCCNN(SearchSpace):
    """A reconstruction of the SDC-CNN, which is not public, and variations of it.

    A 3x3 stem, five units of three densely connected convolutions, max-pools between them. BatchNorm and ReLU stand in
    front of each convolution, as in DenseNet. It fits VRKD's Table 1: 9.2 G multiply-adds at 128x128, and 10.86 M
    parameters in `ReID(embedding_dim=256)` with VeRi-776's 576 identities (global average pool, FC 256, BNNeck,
    classifier). Each unit (`unit1` to `unit5`) can change its length and give up the dense connections.
    """

    widths: tuple[Multiplier, ...] = (1.0,)
    """Multipliers of the channels offered to each unit, the published one first. More than one asks `unit1.width` and
    so on, which only strategies that try whole architectures can answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.widths, CHANNELS[0])

    @property
    def title(self) -> str:
        return "SDC-CNN" + ("" if self.widths[0] == 1 else f" x{self.widths[0]:g}")

    def build(self, pick: Pick, c_in: int = 3) -> StageNet:
        """Its maps are `unit1 [B, C, H, W]` to `unit5 [B, C, H / 16, W / 16]`, the last behind BatchNorm and ReLU."""
        c_last = round(CHANNELS[0] * self.widths[0])
        before: nn.Module = nn.Conv2d(c_in, c_last, 3, padding=1, bias=False)
        units = {}
        for place, channels in enumerate(CHANNELS, 1):
            channels = round(channels * pick.value(f"unit{place}.width", self.widths))
            makers = {
                key: partial(unit, c_last, channels, length, dense, pick.affine)
                for key, (length, dense) in UNITS.items()
            }
            units[f"unit{place}"] = nn.Sequential(before, pick.op(f"unit{place}", makers))
            before, c_last = nn.MaxPool2d(3, 2, 1), channels
        units["unit5"].extend([nn.BatchNorm2d(c_last), nn.ReLU()])
        return StageNet(units, c_last)
