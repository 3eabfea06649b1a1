"""ResNet (He et al. 2016) with every block's kind, kernel and existence open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Multiplier
from search_spaces.space import SearchSpace

STAGE_CHANNELS = (64, 128, 256, 512)


class Block(nn.Module, ABC):
    """`relu(norm(conv(x)) + shortcut(x))`; torchvision's names. `affine` is that of the BatchNorms before the sum."""

    def __init__(self, c_in: int, c_out: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.out_channels = c_out
        fits = stride == 1 and c_in == c_out
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            None if fits else nn.Sequential(ops.pointwise(c_in, c_out, stride), nn.BatchNorm2d(c_out, affine=affine))
        )

    @abstractmethod
    def body(self, x: Tensor) -> tuple[Tensor, nn.BatchNorm2d]:
        """What the last convolution gives, and the BatchNorm behind it."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y, last = self.body(x)
        return self.relu(last(y) + shortcut)

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0, as a softmax gives: it passes through the ReLU."""
        if self.downsample is None:
            shortcut = weight * x
        else:
            conv, norm = self.downsample
            shortcut = ops.scaled_norm(cast(nn.BatchNorm2d, norm), weight, conv(x))
        y, last = self.body(x)
        return self.relu(ops.scaled_norm(last, weight, y) + shortcut)


def plain(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)


def depthwise_separable(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Sequential:
    """The same in two: depthwise, then 1x1."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, kernel, stride, kernel // 2, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
    )


class BasicBlock(Block):
    """Two convolutions of `kernel`, each made by `conv`."""

    def __init__(
        self,
        c_in: int,
        hidden: int,
        c_out: int,
        stride: int,
        kernel: int,
        affine: bool,
        conv: Callable[[int, int, int, int], nn.Module] = plain,
    ) -> None:
        super().__init__(c_in, c_out, stride, affine)
        self.conv1 = conv(c_in, hidden, kernel, stride)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = conv(hidden, c_out, kernel, 1)
        self.bn2 = nn.BatchNorm2d(c_out, affine=affine)

    def body(self, x: Tensor) -> tuple[Tensor, nn.BatchNorm2d]:
        return self.conv2(self.relu(self.bn1(self.conv1(x)))), self.bn2


class Bottleneck(Block):
    """1x1 convolution, one of `kernel`, 1x1; the stride in the second as in torchvision."""

    def __init__(self, c_in: int, hidden: int, c_out: int, stride: int, kernel: int, affine: bool) -> None:
        super().__init__(c_in, c_out, stride, affine)
        self.conv1 = plain(c_in, hidden, 1, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = plain(hidden, hidden, kernel, stride)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = plain(hidden, c_out, 1, 1)
        self.bn3 = nn.BatchNorm2d(c_out, affine=affine)

    def body(self, x: Tensor) -> tuple[Tensor, nn.BatchNorm2d]:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.conv3(self.relu(self.bn2(self.conv2(y)))), self.bn3


KINDS: dict[str, Callable[..., Block]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "separable": partial(BasicBlock, conv=depthwise_separable),
}

KERNELS = (3, 5)

DEPTHS = {
    18: ((2, 2, 2, 2), 1, {"basic": 1, "bottleneck": 4, "separable": 1}),
    34: ((3, 4, 6, 3), 1, {"basic": 1, "bottleneck": 4, "separable": 1}),
    50: ((3, 4, 6, 3), 4, {"bottleneck": 4, "basic": 16, "separable": 4}),
    101: ((3, 4, 23, 3), 4, {"bottleneck": 4, "basic": 16, "separable": 4}),
    152: ((3, 8, 36, 3), 4, {"bottleneck": 4, "basic": 16, "separable": 4}),
}
"""For each depth the blocks of each stage (the paper's Table 1), the channels that leave a stage for each of
STAGE_CHANNELS, and the kinds of block, the paper's first, each with the channels that leave it for each between its
convolutions. The bottleneck's 4 is the paper's; with 16 a basic block has about as many weights."""


def candidates(hidden: Mapping[str, int], c_in: int, c_out: int, stride: int, affine: bool) -> Mapping[str, Make]:
    """What a block can be, `hidden` channels within each kind; the identity where it fits."""
    blocks: dict[str, Make] = {
        f"{kind}{kernel}": partial(KINDS[kind], c_in, channels, c_out, stride, kernel, affine)
        for kind, channels in hidden.items()
        for kernel in KERNELS
    }
    if stride == 1 and c_in == c_out:
        blocks["skip"] = partial(ops.skip, c_out, stride, affine)
    return blocks


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
        ops.kaiming(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {}
        for stage in range(1, 5):
            maps[f"layer{stage}"] = x = getattr(self, f"layer{stage}")(x)
        return {**maps, "map": x}

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """`layer1` (with the stem) to `layer4`."""
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return {
            "layer1": [*stem, self.layer1],
            "layer2": [self.layer2],
            "layer3": [self.layer3],
            "layer4": [self.layer4],
        }


@dataclass(frozen=True, kw_only=True)
class ResNet(SearchSpace):
    """Torchvision's network without its classifier, and variations of it.

    Each block (`layer3.1`, numbered as in torchvision) can be basic, a bottleneck or separable, with 3x3 or 5x5
    kernels, and those that keep size and channels can be skipped.
    """

    depth: Literal[18, 34, 50, 101, 152] = 18
    """Depth of the published network: ResNet-18, 34, 50, 101 or 152."""
    last_stride: Literal[1, 2, "open"] = 2
    """Stride of the last stage; re-identification uses 1, which keeps a map of `H / 16`; open: it is searched,
    which only strategies that try whole architectures can do."""
    width: Multiplier = 1.0
    """Multiplies all channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if round(STAGE_CHANNELS[0] * self.width) < 1:
            raise self.out_of_range("width", f"leave a channel: at least {1 / STAGE_CHANNELS[0]}")

    @property
    def title(self) -> str:
        return f"ResNet-{self.depth}" + ("" if self.width == 1 else f" x{self.width:g}")

    def build(self, pick: Pick, c_in: int = 3) -> ResNetNet:
        stage_depths, expansion, narrower = DEPTHS[self.depth]
        last_stride = pick.value("last_stride", (2, 1) if self.last_stride == "open" else (self.last_stride,))
        widths = [round(channels * self.width) for channels in STAGE_CHANNELS]
        c_last, stages = widths[0], []
        for stage, (channels, num_blocks) in enumerate(zip(widths, stage_depths, strict=True), 1):
            c_out = channels * expansion
            hidden = {kind: max(1, c_out // times) for kind, times in narrower.items()}
            blocks = []
            for place in range(num_blocks):
                stride = 1 if place else {1: 1, 4: last_stride}.get(stage, 2)
                blocks.append(pick.op(f"layer{stage}.{place}", candidates(hidden, c_last, c_out, stride, pick.affine)))
                c_last = c_out
            stages.append(nn.Sequential(*blocks))
        return ResNetNet(c_in, widths[0], stages, c_last)
