"""Directional pooling: what a vehicle looks like from one side (VRKD, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from search_spaces.pick import Pick
from search_spaces.ranges import Channels, Count
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID, ReIDSpace
from students.space import check_num_ids
from teachers.ensemble import EnsembleNet

Direction = Literal["horizontal", "vertical", "diagonal", "anti-diagonal"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


def averaging(direction: Direction, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """What one directional pooling does to a map: `[4, height * width]`, each row the weights of an average.

    On the paper's maps of 16x16: four windows of 10 rows (horizontal) or 10 columns (vertical), two apart; or four
    bands of 8 diagonals each, the main diagonal in both of its neighbours; 8x8 halves and 32x32 doubles all of it. On
    maps of other sizes windows begin and end as in adaptive pooling, and bands end half-way to the corner. An
    anti-diagonal is a diagonal of the mirror image. Raises ValueError for a map with a side of 1: it has no diagonals.
    """
    if min(height, width) < 2:
        raise ValueError(f"directional pooling needs a map of at least 2x2, not {height}x{width}: take larger images")
    row = torch.arange(height, device=device)[:, None].expand(height, width)
    column = torch.arange(width, device=device).expand(height, width)
    match direction:
        case "horizontal":
            parts = _windows(row, height)
        case "vertical":
            parts = _windows(column, width)
        case "diagonal":
            parts = _bands(row, column, height, width)
        case "anti-diagonal":
            parts = _bands(row, width - 1 - column, height, width)
    chosen = torch.stack(parts).flatten(1)
    return chosen / chosen.sum(dim=1, keepdim=True)


def _windows(place: Tensor, size: int) -> list[Tensor]:
    """Four windows of five eighths of `size`, an eighth apart."""
    return [(place >= k * size // 8) & (place < -(-(k + 5) * size // 8)) for k in range(4)]


def _bands(row: Tensor, column: Tensor, height: int, width: int) -> list[Tensor]:
    """The halves above and below the main diagonal, each split half-way to the corner."""
    above = column * height - row * width
    middle = height * width
    return [
        band for offset in (above, -above) for band in ((offset >= 0) & (2 * offset < middle), 2 * offset >= middle)
    ]


class DirectedNet(nn.Module):
    """A backbone whose last map is pooled along one direction: `map` is `[B, 4 * C, 1, 1]`, four averages in a row."""

    def __init__(self, backbone: nn.Module, direction: Direction) -> None:
        super().__init__()
        self.backbone = backbone
        self.direction = direction
        self.out_channels = 4 * cast(int, backbone.out_channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(x)
        last = maps["map"]
        height, width = last.shape[2:]
        weights = averaging(self.direction, height, width, last.device).to(last.dtype)
        pooled = weights @ last.flatten(2).transpose(1, 2)
        return {**maps, "map": pooled.flatten(1)[:, :, None, None]}


@dataclass(frozen=True, kw_only=True)
class Directed(SearchSpace):
    """Any backbone with one directional pooling behind it; what is open is the backbone's."""

    backbone: SearchSpace
    direction: Direction
    """Direction along which the map is pooled."""

    @property
    def title(self) -> str:
        return f"{self.direction} {self.backbone.title}"

    def build(self, pick: Pick, c_in: int = 3) -> DirectedNet:
        return DirectedNet(self.backbone.build(pick, c_in), self.direction)


class DirectionalNet(EnsembleNet):
    """One re-ID network for each direction, with weights of its own."""

    @property
    def backbone(self) -> nn.Module:
        """The first network's, before its pooling."""
        return self._backbones[0]

    def repeat_weights(self) -> None:
        """Starts the other backbones from the first one's weights."""
        for backbone in self._backbones[1:]:
            backbone.load_state_dict(self.backbone.state_dict())

    @property
    def _backbones(self) -> list[nn.Module]:
        return [member.get_submodule("backbone.backbone") for member in self.members.values()]


@dataclass(frozen=True, kw_only=True)
class Directional(ReIDSpace):
    """VRKD's teacher: four networks, each with one directional pooling, whose logits' mean teaches (section 2.1).

    The four averages stand one behind the other before the layer that embeds them, which the paper does not say: four
    SDC-CNNs have 44.42 M parameters so, 44.41 M in Table 1. Each network is trained by its own loss: `BranchesLoss`.
    """

    backbone: SearchSpace = field(default_factory=lambda: ResNet(depth=18, last_stride=1))
    num_ids: Count | None = None
    """Number of training identities; None: as many as the data set has."""
    embedding_dim: Channels | None = 256
    """Length of each network's feature; None: the pooled map is the feature."""

    @property
    def title(self) -> str:
        return f"directional {self.backbone.title}"

    def with_ids(self, num_ids: int) -> Directional:
        check_num_ids(self.num_ids, num_ids)
        return replace(self, num_ids=num_ids)

    def build(self, pick: Pick, c_in: int = 3) -> DirectionalNet:
        return DirectionalNet({direction: self._member(direction).build(pick, c_in) for direction in DIRECTIONS})

    def _member(self, direction: Direction) -> ReID:
        backbone = Directed(backbone=self.backbone, direction=direction)
        return ReID(backbone=backbone, num_ids=self.num_ids, embedding_dim=self.embedding_dim)
