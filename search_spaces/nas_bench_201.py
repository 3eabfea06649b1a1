"""NAS-Bench-201 (Dong and Yang 2020): one cell of six edges, whose authors trained all of its 15,625 networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import ops
from search_spaces.architecture import Architecture
from search_spaces.pick import Make, Pick
from search_spaces.ranges import Channels, Layers, Range
from search_spaces.space import SearchSpace

EDGES = tuple((source, node) for node in range(1, 4) for source in range(node))
"""From which state to which, in the order of the table's keys."""

TABLE_NAMES = {
    "conv3": "nor_conv_3x3",
    "conv1": "nor_conv_1x1",
    "avg3": "avg_pool_3x3",
    "skip": "skip_connect",
    "none": "none",
}
"""Our words for the operations, and the table's."""


def convolution(c_in: int, c_out: int, kernel: int, stride: int, affine: bool) -> ops.Op:
    """ReLU, convolution, BatchNorm."""
    return ops.Op(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
        c_out,
        nn.BatchNorm2d(c_out, affine=affine),
        relu=True,
    )


def candidates(channels: int, affine: bool) -> Mapping[str, Make]:
    """An edge's operations, all of stride 1. The pool has no norm in a supernet either, as in the authors' code."""
    return {
        "conv3": partial(convolution, channels, channels, 3, 1, affine),
        "conv1": partial(convolution, channels, channels, 1, 1, affine),
        "avg3": partial(ops.pool, nn.AvgPool2d, channels, 1, True),
        "skip": partial(ops.skip, channels, 1, affine),
        "none": partial(ops.Zero, channels),
    }


class Cell(nn.Module):
    """Four states; each is the sum of one operation on every earlier one (the paper's Figure 1)."""

    def __init__(self, pick: Pick, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            pick.op(f"cell.{node}<{source}", candidates(channels, pick.affine)) for source, node in EDGES
        )

    def forward(self, x: Tensor) -> Tensor:
        states: list[Tensor] = [x]
        for (source, node), edge in zip(EDGES, self.edges, strict=True):
            y = edge(states[source])
            states[node:] = [states[node] + y if node < len(states) else y]
        return states[-1]


class Reduction(nn.Module):
    """The residual block between stages, which halves the map and doubles the channels."""

    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels, 2 * channels, 3, 2, affine), convolution(2 * channels, 2 * channels, 3, 1, affine)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True),  # as the convolutions round odd sizes
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


class NASBench201Net(nn.Module):
    """`[B, 3, H, W]` to `{"map": [B, 4 C, H / 4, W / 4]}`."""

    def __init__(self, layers: nn.Sequential, out_channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.norm = nn.BatchNorm2d(out_channels)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": F.relu(self.norm(self.layers(x)))}


@dataclass(frozen=True, kw_only=True)
class NASBench201(SearchSpace):
    """Stages of `cells` equal cells; the channels double from stage to stage. The defaults are the paper's.

    The benchmark has no published point of its own: here it is the cell of six 3x3 convolutions, the largest.
    """

    channels: Channels = 16
    """Channels of the first stage; each later stage has twice as many."""
    cells: Layers = 5
    """Cells in each stage."""
    num_stages: Annotated[int, Range(least=1, most=12)] = 3
    """Stages, between which the map is halved."""

    @property
    def title(self) -> str:
        return f"NAS-Bench-201, C={self.channels}, N={self.cells}"

    def build(self, pick: Pick, c_in: int = 3) -> NASBench201Net:
        channels = self.channels
        layers: list[nn.Module] = [nn.Conv2d(c_in, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)]
        for stage in range(self.num_stages):
            if stage > 0:
                layers.append(Reduction(channels, pick.affine))
                channels *= 2
            layers.extend(Cell(pick, channels) for _ in range(self.cells))
        return NASBench201Net(nn.Sequential(*layers), channels)


def table_key(architecture: Architecture) -> str:
    """The cell as the benchmark writes it: `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`."""
    nodes = [
        "".join(
            f"{TABLE_NAMES[str(architecture.decisions[f'cell.{node}<{source}'])]}~{source}|" for source in range(node)
        )
        for node in range(1, 4)
    ]
    return "|" + "+|".join(nodes)


def from_table_key(key: str) -> Architecture:
    """The architecture that `key` names. Raises ValueError when it names none."""
    ours = {name: op for op, name in TABLE_NAMES.items()}
    edges = [edge.partition("~")[0] for node in key.split("+") for edge in node.strip("|").split("|")]
    if len(edges) == len(EDGES) and set(edges) <= set(ours):
        decisions = {f"cell.{node}<{source}": ours[op] for (source, node), op in zip(EDGES, edges, strict=True)}
        architecture = Architecture("NASBench201", decisions)
        if table_key(architecture) == key:
            return architecture
    raise ValueError(
        "a cell of NAS-Bench-201 is written like |none~0|+|none~0|none~1|+|none~0|none~1|none~2|, with "
        f"{', '.join(ours)} for none, not {key!r}"
    )
