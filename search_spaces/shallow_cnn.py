"""VRKD's shallow CNN (Xie et al. 2021) with every layer's kernel, depth, pooling and width open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.pick import Pick
from search_spaces.ranges import Multiplier
from search_spaces.space import SearchSpace

LAYERS = ((5, 32), (5, 64), (3, 128), (3, 192), (3, 256))
"""Kernel and channels of each layer, as they give the costs of the paper's Table 1."""

KERNELS = (3, 5, 7)


def conv_norm(c_in: int, c_out: int, kernel: int, affine: bool, relu: bool = False) -> ops.Op:
    """Convolution and BatchNorm, with `relu` behind a ReLU."""
    return ops.Op(
        nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False),
        c_out,
        nn.BatchNorm2d(c_out, affine=affine),
        relu,
    )


def layer(pick: Pick, name: str, c_in: int, channels: int, kernel: int) -> nn.Sequential:
    """Convolution, BatchNorm, a second convolution where it is chosen, ReLU, and a pool that halves the map."""
    kernels = (kernel, *(other for other in KERNELS if other != kernel))
    return nn.Sequential(
        pick.op(f"{name}.kernel", {f"k{k}": partial(conv_norm, c_in, channels, k, pick.affine) for k in kernels}),
        pick.op(
            f"{name}.second",
            {
                "skip": partial(ops.skip, channels, 1, pick.affine),
                "k3": partial(conv_norm, channels, channels, 3, pick.affine, relu=True),
            },
        ),
        nn.ReLU(),
        pick.op(
            f"{name}.pool",
            {
                "max3": partial(ops.pool, nn.MaxPool2d, channels, 2, pick.affine),
                "avg3": partial(ops.pool, nn.AvgPool2d, channels, 2, pick.affine),
            },
        ),
    )


class StageNet(nn.Module):
    """Stages one behind the other: `[B, 3, H, W]` to the map of each under its name, the last one's also as `map`."""

    def __init__(self, stages: Mapping[str, nn.Sequential], out_channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(stages)
        self.out_channels = out_channels
        ops.kaiming(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, stage in self.parts.items():
            maps[name] = x = stage(x)
        return {**maps, "map": x}

    def stages(self) -> dict[str, Iterable[nn.Module]]:
        """The same names."""
        return {name: cast(nn.Sequential, stage) for name, stage in self.parts.items()}


def check_widths(widths: tuple[float, ...], smallest: int) -> None:
    """Raises ValueError unless each multiplier leaves a channel of `smallest`."""
    if not widths or round(smallest * min(widths)) < 1:
        raise ValueError(
            f"widths must be one or more multipliers that leave a channel: at least {1 / smallest}, not {widths}"
        )


@dataclass(frozen=True, kw_only=True)
class ShallowCNN(SearchSpace):
    """The paper's "CNN" (0.41 G MACs at 128x128), and variations of it.

    In `ReID(embedding_dim=256)` with VeRi-776's 576 identities (global average pool, FC 256, BNNeck, classifier) it has
    the 1.01 M parameters of Table 1. Each of the five layers (`layer1` to `layer5`) can change its kernel, take a
    second convolution and pool by average.
    """

    widths: tuple[Multiplier, ...] = (1.0,)
    """Multipliers of the channels offered to each layer, the published one first. More than one asks `layer1.width` and
    so on, which only strategies that try whole architectures can answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.widths, LAYERS[0][1])

    @property
    def title(self) -> str:
        return "Shallow CNN" + ("" if self.widths[0] == 1 else f" x{self.widths[0]:g}")

    def build(self, pick: Pick, c_in: int = 3) -> StageNet:
        """Its maps are `layer1 [B, C, H / 2, W / 2]` to `layer5 [B, C, H / 32, W / 32]`."""
        layers = {}
        for place, (kernel, channels) in enumerate(LAYERS, 1):
            name = f"layer{place}"
            channels = round(channels * pick.value(f"{name}.width", self.widths))
            layers[name] = layer(pick, name, c_in, channels, kernel)
            c_in = channels
        return StageNet(layers, c_in)
