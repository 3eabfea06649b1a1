"""ShuffleNetV2 (Ma et al. 2018) with every unit's kernel, channel split and existence open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Multiplier
from search_spaces.space import SearchSpace

CHANNELS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
"""Channels of the stem, of stages 2 to 4 and of the last convolution by width (the paper's Table 5)."""

STAGES = {"stage2": 4, "stage3": 8, "stage4": 4}
"""Units of each stage."""

UNITS = {f"k{kernel}s{percent}": (kernel, percent / 100) for percent in (50, 25, 75) for kernel in (3, 5, 7)}
"""Kernel and split of each candidate; the first is the paper's unit."""


class Unit(nn.Module):
    """Two branches side by side, their channels shuffled; torchvision's names.

    A share `split` of the channels that come out is the first branch's. A unit that keeps size and channels passes them
    on as they are; a stage's first unit convolves them too. `affine` is that of each branch's last BatchNorm and of
    those before a convolution, whose scale the convolution's weights can take and whose shift the next BatchNorm takes
    out.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, kernel: int = 3, split: float = 0.5, affine: bool = True
    ) -> None:
        super().__init__()
        self.keeps = keeps(c_in, c_out, stride)
        self.num_first = round(split * c_out)
        num_second = c_out - self.num_first
        self.branch1 = (
            nn.Sequential()
            if self.keeps
            else nn.Sequential(*depthwise(c_in, kernel, stride, affine), *pointwise(c_in, self.num_first, affine))
        )
        self.branch2 = nn.Sequential(
            *pointwise(num_second if self.keeps else c_in, num_second),
            *depthwise(num_second, kernel, stride, affine),
            *pointwise(num_second, num_second, affine),
        )
        self.out_channels = c_out

    def forward(self, x: Tensor) -> Tensor:
        first, second = self._inputs(x)
        return shuffled(self.branch1(first), self.branch2(second))

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0, as a softmax gives: it passes through the ReLUs."""
        first, second = self._inputs(x)
        return shuffled(_weighted(self.branch1, weight, first), _weighted(self.branch2, weight, second))

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x[:, : self.num_first], x[:, self.num_first :]) if self.keeps else (x, x)


def keeps(c_in: int, c_out: int, stride: int) -> bool:
    """Whether a unit gives a map of the size and channels that it gets."""
    return stride == 1 and c_in == c_out


def _weighted(branch: nn.Sequential, weight: Tensor, x: Tensor) -> Tensor:
    """`weight * branch(x)`, which the last BatchNorm takes in."""
    if not len(branch):
        return weight * x
    *_, norm, relu = branch
    return relu(ops.scaled_norm(cast(nn.BatchNorm2d, norm), weight, branch[:-2](x)))


def shuffled(first: Tensor, second: Tensor) -> Tensor:
    """Joined along the channels, then a channel of the first half and one of the second in turn."""
    return torch.cat([first, second], dim=1).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def pointwise(c_in: int, c_out: int, affine: bool = True) -> tuple[nn.Module, ...]:
    """1x1 convolution, BatchNorm, ReLU."""
    return nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, affine=affine), nn.ReLU(inplace=True)


def depthwise(c: int, kernel: int, stride: int, affine: bool) -> tuple[nn.Module, ...]:
    """Depthwise convolution, BatchNorm."""
    return nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False), nn.BatchNorm2d(c, affine=affine)


def candidates(c_in: int, c_out: int, stride: int, affine: bool) -> Mapping[str, Make]:
    """What a unit can be; the identity, which makes the stage shallower, where it fits."""
    units: dict[str, Make] = {
        key: partial(Unit, c_in, c_out, stride, kernel, split, affine) for key, (kernel, split) in UNITS.items()
    }
    if keeps(c_in, c_out, stride):
        units["skip"] = partial(ops.skip, c_out, stride, affine)
    return units


class ShuffleNetV2Net(nn.Module):
    """`[B, 3, H, W]` to `{"stage2": [B, C, H / 8, W / 8], ..., "map": [B, C, H / 32, W / 32]}`; torchvision's names."""

    def __init__(self, c_in: int, c_stem: int, stages: Sequence[nn.Sequential], c_last: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(c_in, c_stem, 3, 2, 1, bias=False), nn.BatchNorm2d(c_stem), nn.ReLU(inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = nn.Sequential(*pointwise(c_last, c_out))
        self.out_channels = c_out

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.conv1(x))
        maps = {}
        for stage in STAGES:
            maps[stage] = x = getattr(self, stage)(x)
        return {**maps, "map": self.conv5(x)}

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """`stage2` (with the stem), `stage3`, `stage4`, and the last convolution `conv5`."""
        return {
            "stage2": [self.conv1, self.maxpool, self.stage2],
            "stage3": [self.stage3],
            "stage4": [self.stage4],
            "conv5": [self.conv5],
        }


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2(SearchSpace):
    """Torchvision's network without its classifier, and variations of it.

    Each unit (`stage3.1`, numbered as in torchvision) can change its kernel and its split, and those that keep size and
    channels can be skipped.
    """

    width: Multiplier = 1.0
    """The paper's channels at 0.5, 1, 1.5 and 2; else those of 1 times `width`, rounded to multiples of 4."""
    last_stride: Literal[1, 2] = 2
    """Stride of the last stage; 1 keeps a map of `H / 16`."""

    @property
    def title(self) -> str:
        return f"ShuffleNetV2 x{self.width:g}"

    def build(self, pick: Pick, c_in: int = 3) -> ShuffleNetV2Net:
        multiplied = tuple(max(4, round(channels * self.width / 4) * 4) for channels in CHANNELS[1.0])
        c_stem, *stage_channels, c_out = CHANNELS.get(self.width, multiplied)
        c_last, stages = c_stem, []
        for (stage, num_units), channels in zip(STAGES.items(), stage_channels, strict=True):
            units = []
            for place in range(num_units):
                stride = 1 if place else self.last_stride if stage == "stage4" else 2
                units.append(pick.op(f"{stage}.{place}", candidates(c_last, channels, stride, pick.affine)))
                c_last = channels
            stages.append(nn.Sequential(*units))
        return ShuffleNetV2Net(c_in, c_stem, stages, c_last, c_out)
