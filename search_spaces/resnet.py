"""ResNet (He et al. 2016) with the depth of every stage open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.base import Pick, SearchSpace

STAGE_CHANNELS = (64, 128, 256, 512)


class Block(nn.Module, ABC):
    """`relu(norm(body(x)) + shortcut(x))`; torchvision's names."""

    expansion: int
    """Channels that come out for each channel of the stage."""

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = channels * self.expansion
        fits = stride == 1 and c_in == self.out_channels
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if fits else nn.Sequential(
            nn.Conv2d(c_in, self.out_channels, 1, stride, bias=False), nn.BatchNorm2d(self.out_channels))

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """Up to the last convolution."""

    @property
    @abstractmethod
    def norm(self) -> nn.BatchNorm2d:
        """Behind the last convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.body(x)) + self._shortcut(x))

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0, as a softmax gives: it passes through the ReLU."""
        return self.relu(ops.scaled_norm(self.norm, weight, self.body(x)) + weight * self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(Block):
    """Two 3x3 convolutions; `affine` is the last BatchNorm's."""

    expansion = 1

    def __init__(self, c_in: int, channels: int, stride: int, affine: bool = True) -> None:
        super().__init__(c_in, channels, stride)
        self.conv1 = nn.Conv2d(c_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, affine=affine)

    def body(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu(self.bn1(self.conv1(x))))

    @property
    def norm(self) -> nn.BatchNorm2d:
        return self.bn2


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolution, the stride in the 3x3 as in torchvision; `affine` is the last BatchNorm's."""

    expansion = 4

    def __init__(self, c_in: int, channels: int, stride: int, affine: bool = True) -> None:
        super().__init__(c_in, channels, stride)
        self.conv1 = nn.Conv2d(c_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, self.out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.out_channels, affine=affine)

    def body(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.conv3(self.relu(self.bn2(self.conv2(y))))

    @property
    def norm(self) -> nn.BatchNorm2d:
        return self.bn3


DEPTHS: dict[int, tuple[str, type[Block], tuple[int, ...]]] = {
    18: ("basic", BasicBlock, (2, 2, 2, 2)),
    34: ("basic", BasicBlock, (3, 4, 6, 3)),
    50: ("bottleneck", Bottleneck, (3, 4, 6, 3)),
}
"""Kind of block and the number of blocks in each stage (the paper's Table 1)."""


class ResNetNet(nn.Module):
    """`[B, 3, H, W]` to `{"layer1": [B, C, H / 4, W / 4], ..., "layer4": ..., "map": ...}`; torchvision's names."""

    def __init__(self, c_in: int, channels: int, stages: Sequence[nn.Sequential], out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = out_channels
        ops.kaiming_fan_out(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {}
        for stage in range(1, 5):
            maps[f"layer{stage}"] = x = getattr(self, f"layer{stage}")(x)
        return {**maps, "map": x}

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """`layer1` (with the stem) to `layer4`."""
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return {"layer1": [*stem, self.layer1], "layer2": [self.layer2], "layer3": [self.layer3],
                "layer4": [self.layer4]}


@dataclass(frozen=True, kw_only=True)
class ResNet(SearchSpace):
    """Torchvision's network without its classifier as the published point.

    Each block behind the first of its stage (`layer3.1`, numbered as in torchvision) can be skipped.
    """

    depth: Literal[18, 34, 50] = 18
    last_stride: Literal[1, 2] = 2
    """Stride of the last stage; re-identification uses 1, which keeps a map of `H / 16`."""
    width: float = 1.0
    """Multiplies all channels."""

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise ValueError(f"depth must be one of {list(DEPTHS)}, not {self.depth}")
        if self.last_stride not in (1, 2):
            raise ValueError(f"last_stride must be 1 or 2, not {self.last_stride}")
        if round(STAGE_CHANNELS[0] * self.width) < 1:
            raise ValueError(f"width must leave a channel: at least {1 / STAGE_CHANNELS[0]}, not {self.width}")

    @property
    def title(self) -> str:
        return f"ResNet-{self.depth}" + ("" if self.width == 1 else f" x{self.width:g}")

    def build(self, pick: Pick, c_in: int = 3) -> ResNetNet:
        kind, block, stage_depths = DEPTHS[self.depth]
        widths = [round(channels * self.width) for channels in STAGE_CHANNELS]
        c_last, stages = widths[0], []
        for stage, (channels, num_blocks) in enumerate(zip(widths, stage_depths, strict=True), 1):
            stride = {1: 1, 4: self.last_stride}.get(stage, 2)
            blocks: list[nn.Module] = [block(c_last, channels, stride)]
            c_last = channels * block.expansion
            makers = {kind: partial(block, c_last, channels, 1, pick.affine),
                      "skip": partial(ops.skip, c_last, 1, pick.affine)}
            blocks += [pick.op(f"layer{stage}.{place}", makers) for place in range(1, num_blocks)]
            stages.append(nn.Sequential(*blocks))
        return ResNetNet(c_in, widths[0], stages, c_last)
