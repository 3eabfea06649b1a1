"""MobileNetV2 (Sandler et al. 2018) with every block's kernel, expansion and existence open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Multiplier
from search_spaces.space import SearchSpace

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, number of blocks and first stride of each stage (the paper's Table 2)."""

LAST_HALVING = 6
"""The last stage that halves its map."""

BLOCKS = {"k3e6": (3, 6), "k3e3": (3, 3), "k5e3": (5, 3), "k5e6": (5, 6), "k7e3": (7, 3), "k7e6": (7, 6)}
"""Kernel and expansion of each candidate; the first is the paper's block."""


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project linearly, add the input where the shapes allow; torchvision's names."""

    def __init__(
        self, c_in: int, c_out: int, stride: int, kernel: int = 3, expansion: int = 6, affine: bool = True
    ) -> None:
        """`affine` is the last BatchNorm's."""
        super().__init__()
        hidden = c_in * expansion
        expand = [conv_norm_relu(c_in, hidden, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm_relu(hidden, hidden, kernel, stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=affine),
        )
        self.residual = stride == 1 and c_in == c_out
        self.out_channels = c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight`, which the last BatchNorm takes in."""
        y = ops.scaled_norm(cast(nn.BatchNorm2d, self.conv[-1]), weight, self.conv[:-1](x))
        return weight * x + y if self.residual else y


def conv_norm_relu(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU6(inplace=True),
    )


def candidates(c_in: int, c_out: int, stride: int, affine: bool) -> Mapping[str, Make]:
    """What a block can be; the identity, which makes the stage shallower, where it fits."""
    blocks: dict[str, Make] = {
        key: partial(InvertedResidual, c_in, c_out, stride, kernel, expansion, affine)
        for key, (kernel, expansion) in BLOCKS.items()
    }
    if stride == 1 and c_in == c_out:
        blocks["skip"] = partial(ops.skip, c_out, stride, affine)
    return blocks


class MobileNetV2Net(nn.Module):
    """`[B, 3, H, W]` to `{"stage1": ..., "stage7": ..., "map": [B, C, H / 32, W / 32]}`; torchvision's names."""

    def __init__(self, features: nn.Sequential, stage_ends: Mapping[int, str], out_channels: int) -> None:
        super().__init__()
        self.features = features
        self.stage_ends = stage_ends
        self.out_channels = out_channels
        ops.kaiming(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.stage_ends:
                maps[self.stage_ends[place]] = x
        return {**maps, "map": x}

    def stages(self) -> dict[str, Iterable[nn.Module]]:
        """`stage1` (with the first convolution) to `stage7`, the paper's bottlenecks, and the `last` convolution."""
        starts = [0, *(end + 1 for end in self.stage_ends)]
        names = [*self.stage_ends.values(), "last"]
        return {
            name: self.features[start:end] for name, start, end in zip(names, starts, [*starts[1:], None], strict=True)
        }


def rounded(channels: float) -> int:
    """The nearest multiple of 8, but not less than nine tenths (the authors' rounding)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(SearchSpace):
    """Torchvision's network without its classifier, and variations of it.

    Each block (`block2` to `block17`, numbered as in torchvision) can change its kernel and expansion, and those that
    keep size and channels can be skipped. The first, which does not expand, stays.
    """

    width: Multiplier = 1.0
    """Multiplies all channels, rounded to multiples of 8."""
    other_widths: tuple[Multiplier, ...] = ()
    """Further multipliers that are offered, as `width`: only strategies that try whole architectures can answer."""
    last_stride: Literal[1, 2] = 2
    """Stride of the last stage that halves the map; 1 keeps a map of `H / 16`."""

    @property
    def title(self) -> str:
        return f"MobileNetV2 x{self.width:g}"

    def build(self, pick: Pick, c_in: int = 3) -> MobileNetV2Net:
        width = pick.value("width", (self.width, *self.other_widths))
        c_last, c_out = rounded(32 * width), rounded(1280 * max(width, 1.0))
        layers: list[nn.Module] = [conv_norm_relu(c_in, c_last, 3, 2)]
        stage_ends = {}
        for stage, (expansion, channels, num_blocks, first_stride) in enumerate(STAGES, 1):
            channels = rounded(channels * width)
            for block in range(num_blocks):
                stride = 1 if block else self.last_stride if stage == LAST_HALVING else first_stride
                layers.append(
                    InvertedResidual(c_last, channels, stride, expansion=1)
                    if expansion == 1
                    else pick.op(f"block{len(layers)}", candidates(c_last, channels, stride, pick.affine))
                )
                c_last = channels
            stage_ends[len(layers) - 1] = f"stage{stage}"
        layers.append(conv_norm_relu(c_last, c_out, 1))
        return MobileNetV2Net(nn.Sequential(*layers), stage_ends, c_out)
