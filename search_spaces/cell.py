"""Networks stacked from one normal and one reduction cell: KDAS-ReID, Auto-ReID and DARTS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from search_spaces import ops
from search_spaces.architecture import Architecture
from search_spaces.cpu_kernels import side_by_side
from search_spaces.pick import Pick
from search_spaces.ranges import Channels, Layers
from search_spaces.relaxed import States
from search_spaces.space import SearchSpace

NUM_NODES = 4
INPUTS_PER_NODE = 2

Genotype = Mapping[str, Sequence[Sequence[str]]]

AUTO_REID: Genotype = {
    "normal": [("sep3@0", "skip@1"), ("dil3@2", "dil3@0"), ("dil3@3", "sep3@2"), ("dil3@4", "dil3@3")],
    "reduce": [("max3@0", "part@1"), ("sep3@0", "dil3@2"), ("dil3@2", "max3@0"), ("dil3@4", "dil3@3")],
}
"""The cell that Auto-ReID published: nodes 2 to 5, `operation@input`."""

DARTS_V2: Genotype = {
    "normal": [("sep3@0", "sep3@1"), ("sep3@0", "sep3@1"), ("sep3@1", "skip@0"), ("skip@0", "dil3@2")],
    "reduce": [("max3@0", "max3@1"), ("skip@2", "max3@1"), ("max3@0", "skip@2"), ("skip@2", "max3@1")],
}
"""The cell that second-order DARTS published for CIFAR-10."""

GDAS_V1: Genotype = {
    "normal": [("skip@0", "skip@1"), ("skip@0", "sep5@2"), ("sep3@3", "skip@0"), ("sep5@4", "sep3@3")],
    "reduce": [("sep5@0", "sep3@1"), ("sep5@2", "sep5@1"), ("dil5@2", "sep3@1"), ("sep5@0", "sep5@1")],
}
"""The cell that GDAS published for CIFAR-10, whose reduction cell is searched, too."""


class Cell(nn.Module):
    """Two previous cells in, the concatenation of the inner nodes out (DARTS, section 2.1)."""

    def __init__(
        self,
        pick: Pick,
        kind: str,
        c_in: tuple[int, int],
        channels: int,
        halved_before: bool,
        candidates: Mapping[str, ops.Candidate],
        published: Sequence[Sequence[str]],
    ) -> None:
        super().__init__()
        halve = ops.factorized_reduce if halved_before else ops.conv_norm
        self.preprocess = nn.ModuleList(
            [halve(c_in[0], channels, pick.affine), ops.conv_norm(c_in[1], channels, pick.affine)]
        )
        self.nodes = nn.ModuleList()
        for node in range(2, 2 + NUM_NODES):
            strides = {source: 2 if kind == "reduce" and source < 2 else 1 for source in range(node)}
            makers = {
                source: {
                    key: lambda make=make, stride=stride: make(channels, stride, pick.affine)
                    for key, make in candidates.items()
                }
                for source, stride in strides.items()
            }
            self.nodes.append(pick.edges(f"{kind}.{node}", makers, INPUTS_PER_NODE, published[node - 2]))
        self.out_channels = NUM_NODES * channels

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        states = States([self.preprocess[0](before_last), self.preprocess[1](last)], list(self.nodes))
        for node in self.nodes:
            states.append(node(states))
        return side_by_side(states[2:])


def resnet_stem(c_in: int, channels: int) -> nn.Sequential:
    """ResNet's stem: stride 4."""
    return nn.Sequential(
        nn.Conv2d(c_in, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )


def cifar_stem(c_in: int, channels: int) -> nn.Sequential:
    """DARTS's stem on CIFAR-10: stride 1, three times the cells' channels."""
    return nn.Sequential(nn.Conv2d(c_in, 3 * channels, 3, 1, 1, bias=False), nn.BatchNorm2d(3 * channels))


class CellNet(nn.Module):
    """Stem and cells; the last cell's map is `{"map": [B, C, H, W]}`."""

    def __init__(self, stem: nn.Module, cells: nn.ModuleList) -> None:
        super().__init__()
        self.stem = stem
        self.cells = cells
        self.out_channels = cells[-1].out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        return {"map": last}


CANDIDATES: Mapping[str, tuple[Mapping[str, ops.Candidate], Genotype]] = {
    "kdas": (ops.KDAS, AUTO_REID),
    "darts": (ops.DARTS, DARTS_V2),
    "gdas": (ops.DARTS, GDAS_V1),
}
"""By name what an edge chooses from, and the published cell."""


@dataclass(frozen=True, kw_only=True)
class Cells(SearchSpace):
    """`cells` cells of `channels` channels (doubled at each reduction), whose edges are open.

    The defaults are KDAS-ReID's search network: the candidates of Auto-ReID, with its published cell as the
    default, and eight cells behind a ResNet stem, of which the 3rd, 5th and 7th are reduction cells.
    """

    channels: Channels = 32
    """Channels of the first cells' nodes (the paper: 32 to search, 64 to retrain)."""
    cells: Layers = 8
    """Cells of the network, reduction cells included."""
    reductions: tuple[Layers, ...] = (3, 5, 7)
    """Positions of the reduction cells, counted from 1."""
    candidates: Literal["kdas", "darts", "gdas"] = "kdas"
    """Operations that each edge chooses from: Auto-ReID's with part-aware pooling (kdas), or those of DARTS, with the
    cell that DARTS published, or GDAS (gdas)."""
    stem: Literal["resnet", "cifar"] = "resnet"
    """Layers before the cells: ResNet's stem, which divides height and width by four, or CIFAR's, which keeps them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.reductions, default=1) > self.cells:
            raise self.out_of_range("reductions", f"be places from 1 to {self.cells}, the number of cells")

    @property
    def title(self) -> str:
        return f"{self.cells} {self.candidates} cells, C={self.channels}"

    def build(self, pick: Pick, c_in: int = 3) -> CellNet:
        candidates, genotype = CANDIDATES[self.candidates]
        stem = {"resnet": resnet_stem, "cifar": cifar_stem}[self.stem](c_in, self.channels)
        before_last = last = self.channels * (3 if self.stem == "cifar" else 1)
        channels, halved_before, cells = self.channels, False, nn.ModuleList()
        for place in range(1, self.cells + 1):
            kind = "reduce" if place in self.reductions else "normal"
            channels *= 2 if kind == "reduce" else 1
            cell = Cell(pick, kind, (before_last, last), channels, halved_before, candidates, genotype[kind])
            before_last, last, halved_before = last, cell.out_channels, kind == "reduce"
            cells.append(cell)
        return CellNet(stem, cells)


def genotype(cells: Genotype, prefix: str = "", space: str = "Cells") -> Architecture:
    """A published genotype as an architecture; `prefix` is where the space stands in a larger one (`"backbone."`)."""
    return Architecture(
        space,
        {
            f"{prefix}{kind}.{node + 2}": tuple(edges)
            for kind, nodes in cells.items()
            for node, edges in enumerate(nodes)
        },
    )
