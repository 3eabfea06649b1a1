"""OSNet (Zhou et al. 2019) with every block's streams, gate and instance normalisation open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import ops
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Multiplier
from search_spaces.space import SearchSpace

CHANNELS = (64, 256, 384, 512)
"""Channels of the stem and of `conv2` to `conv4` (the paper's Table 1)."""

STREAMS = {"conv2b": 2, "conv2c": 3, "conv2d": 4}
"""Lite convolutions of each stream behind the first, `conv2a`, which every block has."""

NUM_BLOCKS = 2
REDUCTION = 4
"""A block's channels over those of its streams."""
GATE_REDUCTION = 16
MIN_GATE_CHANNELS = 4


class ConvNorm(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, ReLU; torchreid's names. `affine` is the BatchNorm's."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, linear: bool = False, affine: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)
        self.relu = nn.Identity() if linear else nn.ReLU(inplace=True)
        self.out_channels = c_out

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0, as a softmax gives: it passes through the ReLU."""
        return self.relu(ops.scaled_norm(self.bn, weight, self.conv(x)))


class LiteConv(nn.Module):
    """The paper's Lite 3x3: 1x1 convolution, depthwise 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, c: int, affine: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 1, bias=False)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
        self.bn = nn.BatchNorm2d(c, affine=affine)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))

    def weighted(self, weight: Tensor, x: Tensor) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0."""
        return self.relu(ops.scaled_norm(self.bn, weight, self.conv2(self.conv1(x))))


class Stream(nn.Sequential):
    """`length` Lite 3x3 convolutions: a receptive field of `2 * length + 1`. `affine` is the last BatchNorm's."""

    def __init__(self, c: int, length: int, affine: bool) -> None:
        super().__init__(*(LiteConv(c) for _ in range(length - 1)), LiteConv(c, affine))
        self.out_channels = c

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight` above 0."""
        *before, last = self
        for conv in before:
            x = conv(x)
        return cast(LiteConv, last).weighted(weight, x)


class NoStream(ops.Zero):
    """The candidate that leaves a stream out: zeros in a supernet; a student has none."""


class Gate(nn.Module):
    """The unified aggregation gate: each channel times a weight in [0, 1] that depends on the map's averages.

    Networks narrower than the published one keep its least hidden width: with one or two hidden channels, many gates
    start behind a silent ReLU and never learn.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        hidden = max(c // GATE_REDUCTION, MIN_GATE_CHANNELS)
        self.fc1 = nn.Conv2d(c, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, c, 1)
        for bias in (self.fc1.bias, self.fc2.bias):
            nn.init.zeros_(cast(Tensor, bias))
        self.out_channels = c

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class Block(nn.Module):
    """The omni-scale residual block (the paper's Figure 4b); torchreid's names.

    `name.streams` is how many of the four streams it has, the shorter ones first; `name.gate` whether they share a
    gate; `name.instance_norm` where it normalises each image: nowhere, `outside` the residual (behind the sum, as
    OSNet-IBN), or `inside` (in the place of the last BatchNorm, as OSNet-AIN).
    """

    def __init__(self, pick: Pick, name: str, c_in: int, c_out: int) -> None:
        super().__init__()
        c = c_out // REDUCTION
        self.conv1 = ConvNorm(c_in, c)
        self.conv2a = LiteConv(c)
        self.streams = ["conv2a"]
        for stream, length in STREAMS.items():
            made = pick.op(f"{name}.streams", stream_of(c, length, pick.affine))
            if not isinstance(made, NoStream):
                self.add_module(stream, made)
                self.streams.append(stream)
        self.gate = pick.op(f"{name}.gate", {"unified": partial(Gate, c), "none": partial(ops.skip, c, 1, pick.affine)})
        batch = partial(ConvNorm, c, c_out, linear=True, affine=pick.affine)
        keep, norm = partial(ops.skip, c_out, 1, pick.affine), partial(instance_norm, c_out, pick.affine)
        self.conv3 = pick.op(
            f"{name}.instance_norm",
            {"none": batch, "outside": batch, "inside": partial(projected, c, c_out, pick.affine)},
        )
        self.downsample = nn.Identity() if c_in == c_out else ConvNorm(c_in, c_out, linear=True)
        self.IN = pick.op(f"{name}.instance_norm", {"none": keep, "outside": norm, "inside": keep})

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = reduce(add, (self.gate(getattr(self, stream)(y)) for stream in self.streams))
        return F.relu(self.IN(self.conv3(y) + self.downsample(x)))


def stream_of(c: int, length: int, affine: bool) -> dict[str, Make]:
    """What stands in the place of the stream of `length` by how many streams there are."""
    return {
        str(num_streams): partial(Stream, c, length, affine) if num_streams >= length else partial(NoStream, c)
        for num_streams in (4, 3, 2, 1)
    }


def instance_norm(c: int, affine: bool) -> ops.Op:
    """Normalises each image's channels by their own mean and variance."""
    return ops.Op(nn.InstanceNorm2d(c, affine=affine), c, None, relu=False)


def projected(c_in: int, c_out: int, affine: bool) -> ops.Op:
    """1x1 convolution, instance normalisation."""
    body = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.InstanceNorm2d(c_out, affine=affine))
    return ops.Op(body, c_out, None, relu=False)


class OSNetNet(nn.Module):
    """`[B, 3, H, W]` to `{"conv2": [B, C, H / 8, W / 8], "conv3": ..., "map": [B, C, H / 16, W / 16]}`."""

    def __init__(self, c_in: int, c_stem: int, stages: Sequence[nn.Sequential], c_out: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c_in, c_stem, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.conv2, self.conv3, self.conv4 = stages
        self.conv5 = ConvNorm(c_out, c_out)
        self.out_channels = c_out
        ops.kaiming(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.conv1(x))
        maps = {}
        for stage in ("conv2", "conv3", "conv4"):
            maps[stage] = x = getattr(self, stage)(x)
        return {**maps, "map": self.conv5(x)}

    def stages(self) -> dict[str, Sequence[nn.Module]]:
        """`conv2` (with the stem), `conv3`, `conv4`, and the last convolution `conv5`."""
        return {
            "conv2": [self.conv1, self.maxpool, self.conv2],
            "conv3": [self.conv3],
            "conv4": [self.conv4],
            "conv5": [self.conv5],
        }


@dataclass(frozen=True, kw_only=True)
class OSNet(SearchSpace):
    """The authors' network up to its last map, and variations of it; tensors have torchreid's names.

    In `ReID(embedding_dim=512)`, without the classifier, it has 2,169,508 parameters and 978.9 M multiply-adds at
    256x128: that head's embedding and BNNeck are the authors' FC 512 and BatchNorm, without the ReLU behind them.
    torchreid prints 2,193,616 parameters (2.194 M), because it counts each gate once for each of the four streams that
    share it. The network stands in for CMSNet (KSL's third), which is not public.

    See `Block` for what each block (`conv2.0` to `conv4.1`) can change.
    """

    width: Multiplier = 1.0
    """Multiplies all channels, rounded to multiples of 4."""

    @property
    def title(self) -> str:
        return f"OSNet x{self.width:g}"

    def build(self, pick: Pick, c_in: int = 3) -> OSNetNet:
        c_stem, *stage_channels = (max(4, round(channels * self.width / 4) * 4) for channels in CHANNELS)
        c_last, stages = c_stem, []
        for number, channels in enumerate(stage_channels, 2):
            layers: list[nn.Module] = []
            for place in range(NUM_BLOCKS):
                layers.append(Block(pick, f"conv{number}.{place}", c_last, channels))
                c_last = channels
            if number < 4:
                layers.append(nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2)))
            stages.append(nn.Sequential(*layers))
        return OSNetNet(c_in, c_stem, stages, c_last)
