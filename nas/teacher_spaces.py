"""Teachers of several networks: the quadruple directional net, and trained networks together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.pick import Pick
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID, ReIDSpace
from teachers.directional import DIRECTIONS, Directed
from teachers.ensemble import EnsembleNet


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
        return [member.backbone.backbone for member in self.members.values()]


@dataclass(frozen=True, kw_only=True)
class Directional(ReIDSpace):
    """VRKD's teacher: four networks, each with one directional pooling, whose logits' mean teaches (section 2.1).

    The four averages stand one behind the other before the layer that embeds them, which the paper does not say: four
    SDC-CNNs have 44.42 M parameters so, 44.41 M in Table 1. Each network is trained by its own loss: `BranchesLoss`.
    """

    backbone: SearchSpace = field(default_factory=lambda: ResNet(depth=18, last_stride=1))
    num_ids: int | None = None
    """Training identities; None: as many as the data set has."""
    embedding_dim: int | None = 256
    """Of each network."""

    @property
    def title(self) -> str:
        return f"directional {self.backbone.title}"

    def with_ids(self, num_ids: int) -> Directional:
        return replace(self, num_ids=self._member(DIRECTIONS[0]).with_ids(num_ids).num_ids)

    def inference(self, architecture: Architecture | None = None) -> tuple[ReIDSpace, Architecture | None]:
        return self, architecture

    def build(self, pick: Pick, c_in: int = 3) -> DirectionalNet:
        return DirectionalNet({direction: self._member(direction).build(pick, c_in) for direction in DIRECTIONS})

    def _member(self, direction: str) -> ReID:
        backbone = Directed(backbone=self.backbone, direction=direction)
        return ReID(backbone=backbone, num_ids=self.num_ids, embedding_dim=self.embedding_dim)


@dataclass(frozen=True, kw_only=True)
class Ensemble(ReIDSpace):
    """Trained networks that teach together; `nas teach` joins the files that `--teacher.members` names.

    What member 1 decides has `1.` in front.
    """

    members: tuple[ReIDSpace, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs at least one member")

    @property
    def title(self) -> str:
        return f"ensemble of {', '.join(member.title for member in self.members)}"

    def with_ids(self, num_ids: int) -> Ensemble:
        return replace(self, members=tuple(member.with_ids(num_ids) for member in self.members))

    def inference(self, architecture: Architecture | None = None) -> tuple[ReIDSpace, Architecture | None]:
        return self, architecture

    def build(self, pick: Pick, c_in: int = 3) -> EnsembleNet:
        return EnsembleNet(
            {str(place): member.build(pick.within(str(place)), c_in) for place, member in enumerate(self.members)}
        )
