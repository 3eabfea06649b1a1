"""NAS-Bench-Macro (Su et al. 2021): eight blocks of three kinds, whose authors trained all 6,561 networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.architecture import Architecture
from search_spaces.mobilenet_v2 import InvertedResidual, conv_norm_relu
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Channels
from search_spaces.space import SearchSpace

STAGES = (2, 3, 3)
"""Blocks of each stage; the first halves the map and doubles the channels."""

TABLE_DIGITS = {"k3e3": "1", "k5e6": "2", "skip": "0"}
"""Our words for the blocks, and the table's."""


def projection(c_in: int, c_out: int, stride: int, affine: bool) -> ops.Op:
    """What stands for the identity where it does not fit: a 1x1 convolution and BatchNorm."""
    return ops.Op(ops.pointwise(c_in, c_out, stride), c_out, nn.BatchNorm2d(c_out, affine=affine), relu=False)


def candidates(c_in: int, c_out: int, stride: int, affine: bool) -> Mapping[str, Make]:
    """What a block can be. Deviation: our inverted residual has MobileNetV2's ReLU6, the authors' a ReLU."""
    fits = stride == 1 and c_in == c_out
    return {
        "k3e3": partial(InvertedResidual, c_in, c_out, stride, 3, 3, affine),
        "k5e6": partial(InvertedResidual, c_in, c_out, stride, 5, 6, affine),
        "skip": partial(ops.skip, c_out, stride, affine) if fits else partial(projection, c_in, c_out, stride, affine),
    }


class NASBenchMacroNet(nn.Module):
    """`[B, 3, H, W]` to `{"map": [B, C, H / 8, W / 8]}`."""

    def __init__(self, layers: nn.Sequential, out_channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": self.layers(x)}


@dataclass(frozen=True, kw_only=True)
class NASBenchMacro(SearchSpace):
    """Three stages of open blocks. The defaults are the paper's.

    The benchmark has no published point of its own: here it is the network of smaller inverted residuals.
    """

    channels: Channels = 32
    """Channels of the first convolution."""
    last_channels: Channels = 1280
    """Channels of the last convolution."""

    @property
    def title(self) -> str:
        return f"NAS-Bench-Macro, C={self.channels}"

    def build(self, pick: Pick, c_in: int = 3) -> NASBenchMacroNet:
        channels = self.channels
        layers: list[nn.Module] = [conv_norm_relu(c_in, channels, 3)]
        for num_blocks in STAGES:
            for block in range(num_blocks):
                c_out, stride = (channels, 1) if block else (2 * channels, 2)
                layers.append(pick.op(f"block{len(layers)}", candidates(channels, c_out, stride, pick.affine)))
                channels = c_out
        layers.append(conv_norm_relu(channels, self.last_channels, 1))
        return NASBenchMacroNet(nn.Sequential(*layers), self.last_channels)


def table_key(architecture: Architecture) -> str:
    """The network as the benchmark writes it: a digit for each block."""
    return "".join(TABLE_DIGITS[str(architecture.decisions[f"block{place}"])] for place in range(1, sum(STAGES) + 1))


def from_table_key(key: str) -> Architecture:
    """The architecture that `key` names. Raises ValueError when it names none."""
    ours = {digit: block for block, digit in TABLE_DIGITS.items()}
    if len(key) != sum(STAGES) or not set(key) <= set(ours):
        raise ValueError(f"a network of NAS-Bench-Macro is {sum(STAGES)} of the digits 0, 1 and 2, not {key!r}")
    return Architecture("NASBenchMacro", {f"block{place}": ours[digit] for place, digit in enumerate(key, 1)})
