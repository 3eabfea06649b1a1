"""DenseNet (Huang et al. 2017) with every dense layer's kind, kernel and existence open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Channels, Layers
from search_spaces.space import SearchSpace

BOTTLENECK = 4
"""Channels of a bottleneck for each channel that comes out of it (the paper's 4k)."""

KERNELS = (3, 5)


class Layer(nn.Sequential):
    """BatchNorm, ReLU and convolution, once for each of `convs`; torchvision's names.

    In a supernet (`affine` is False) a last BatchNorm makes the candidates' maps alike.
    """

    def __init__(self, *convs: tuple[int, nn.Module], growth: int, affine: bool) -> None:
        """`convs`: each convolution behind the channels it reads."""
        super().__init__()
        for place, (channels, conv) in enumerate(convs, 1):
            self.add_module(f"norm{place}", nn.BatchNorm2d(channels))
            self.add_module(f"relu{place}", nn.ReLU(inplace=True))
            self.add_module(f"conv{place}", conv)
        self.norm = None if affine else nn.BatchNorm2d(growth, affine=False)
        self.out_channels = growth

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight`, which a supernet's last BatchNorm takes in."""
        *before, norm = self
        for module in before:
            x = module(x)
        return ops.scaled_norm(cast(nn.BatchNorm2d, norm), weight, x)


def conv(c_in: int, c_out: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    """Keeps the size."""
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=False)


def bottleneck(c_in: int, growth: int, kernel: int, affine: bool) -> Layer:
    """A 1x1 convolution in front of the `kernel`'s (DenseNet-B)."""
    hidden = BOTTLENECK * growth
    return Layer((c_in, conv(c_in, hidden, 1)), (hidden, conv(hidden, growth, kernel)), growth=growth, affine=affine)


def basic(c_in: int, growth: int, kernel: int, affine: bool) -> Layer:
    """One convolution, which reads all maps before it."""
    return Layer((c_in, conv(c_in, growth, kernel)), growth=growth, affine=affine)


def separable(c_in: int, growth: int, kernel: int, affine: bool) -> Layer:
    """A bottleneck whose second convolution is depthwise-separable."""
    hidden = BOTTLENECK * growth
    depthwise = nn.Sequential(conv(hidden, hidden, kernel, groups=hidden), conv(hidden, growth, 1))
    return Layer((c_in, conv(c_in, hidden, 1)), (hidden, depthwise), growth=growth, affine=affine)


KINDS = {"bottleneck": bottleneck, "basic": basic, "separable": separable}
"""The first is the paper's."""


class Newest(nn.Module):
    """The newest maps once more: to the layers behind, as if this one were not there."""

    def __init__(self, growth: int) -> None:
        super().__init__()
        self.growth = growth

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -self.growth :]


def candidates(c_in: int, growth: int, affine: bool) -> Mapping[str, Make]:
    """What a dense layer can be."""
    layers: dict[str, Make] = {
        f"{kind}{kernel}": partial(make, c_in, growth, kernel, affine)
        for kind, make in KINDS.items()
        for kernel in KERNELS
    }
    return {**layers, "skip": lambda: ops.Op(Newest(growth), growth, None, relu=False)}


class DenseBlock(nn.ModuleDict):
    """Layers that each read the block's input and all maps before them; all of it comes out."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], dim=1)
        return x


def transition(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Fewer channels, and a map averaged over `stride x stride`; torchvision's names."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(c_in), relu=nn.ReLU(inplace=True), conv=conv(c_in, c_out, 1), pool=nn.AvgPool2d(stride)
        )
    )


class DenseNetNet(nn.Module):
    """`[B, 3, H, W]` to `{"denseblock1": [B, C, H / 4, W / 4], ..., "map": [B, C, H / 32, W / 32]}`.

    `map` is the last dense block's behind its BatchNorm and ReLU. Torchvision's names.
    """

    def __init__(self, features: nn.Sequential, out_channels: int) -> None:
        super().__init__()
        self.features = features
        self.relu = nn.ReLU(inplace=True)
        self.out_channels = out_channels
        ops.kaiming(self, "fan_in")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, module in self.features.named_children():
            x = module(x)
            if name.startswith("denseblock"):
                maps[name] = x
        return {**maps, "map": self.relu(x)}

    def stages(self) -> Mapping[str, Sequence[nn.Module]]:
        """`denseblock1` (with the stem) to `denseblock4` (with the last BatchNorm), each with the transition to it."""
        stages: dict[str, list[nn.Module]] = {}
        modules: list[nn.Module] = []
        for name, module in self.features.named_children():
            modules.append(module)
            if name.startswith("denseblock"):
                stages[name], modules = modules, []
        stages[f"denseblock{len(stages)}"] += [*modules, self.relu]
        return stages


@dataclass(frozen=True, kw_only=True)
class DenseNet(SearchSpace):
    """Torchvision's network without its classifier, and variations of it.

    Each layer (`denseblock3.denselayer1`, numbered as in torchvision) can be a bottleneck, one convolution alone or
    separable, with a 3x3 or 5x5 kernel, or be skipped.
    """

    blocks: tuple[Layers, Layers, Layers, Layers] = (6, 12, 24, 16)
    """Layers of each of the four dense blocks: DenseNet-121's; (6, 12, 32, 32) is 169, (6, 12, 48, 32) is 201."""
    growth: Channels = 32
    """Channels that each layer adds (the paper's k); the stem has twice as many."""
    last_stride: Literal[1, 2, "open"] = 2
    """Stride of the last transition; 1 keeps a map of `H / 16`; open: it is searched, which only strategies that
    try whole architectures can do."""

    @property
    def title(self) -> str:
        return f"DenseNet-{2 * sum(self.blocks) + 5}" + ("" if self.growth == 32 else f", growth {self.growth}")

    def build(self, pick: Pick, c_in: int = 3) -> DenseNetNet:
        last_stride = pick.value("last_stride", (2, 1) if self.last_stride == "open" else (self.last_stride,))
        strides = {2: 2, 3: 2, 4: last_stride}
        channels = 2 * self.growth
        features = OrderedDict[str, nn.Module](
            conv0=nn.Conv2d(c_in, channels, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        for place, num_layers in enumerate(self.blocks, 1):
            if place > 1:
                features[f"transition{place - 1}"] = transition(channels, channels // 2, strides[place])
                channels //= 2
            features[f"denseblock{place}"] = block = DenseBlock()
            for layer in range(1, num_layers + 1):
                name = f"denselayer{layer}"
                block[name] = pick.op(f"denseblock{place}.{name}", candidates(channels, self.growth, pick.affine))
                channels += self.growth
        features["norm5"] = nn.BatchNorm2d(channels)
        return DenseNetNet(nn.Sequential(features), channels)
