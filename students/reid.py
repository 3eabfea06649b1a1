"""The re-ID student: a backbone, an embedding, a BNNeck and a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, cast

from torch import Tensor, nn

from search_spaces.pick import Pick
from search_spaces.ranges import ADDED, Channels, Count
from search_spaces.space import SearchSpace
from students.space import StudentModule, StudentSpace, check_num_ids


class ReIDOutput(NamedTuple):
    """What a re-ID network says of a batch."""

    logits: Tensor
    """`[B, num_ids]`, one for each training identity."""
    embedding: Tensor
    """`[B, D]` before the BNNeck: the triplet loss's feature (Euclidean)."""
    feature: Tensor
    """`[B, D]` behind the BNNeck: the retrieval feature (cosine)."""
    maps: Mapping[str, Tensor] = MappingProxyType({})
    """`[B, C, H, W]` by name, as the backbone gives them."""
    branches: tuple[ReIDOutput, ...] = ()
    """What the auxiliary branches say, while a KSL network is trained."""


class TeacherOutput(NamedTuple):
    """What a re-ID network says of a batch as a teacher."""

    logits: Tensor
    """`[B, num_ids]`."""
    embedding: Tensor
    """`[B, D]`, before the BNNeck."""
    maps: Mapping[str, Tensor]
    """`[B, C, H, W]` by name: those that were asked for."""


class ReIDModule(StudentModule):
    """A network that answers images `[B, 3, H, W]` with a `ReIDOutput`, and so can teach."""

    out_channels: int
    """Length of the retrieval feature."""

    def teach(self, images: Tensor, maps: Sequence[str]) -> TeacherOutput:
        """What it says of `images`, with the `maps` that are asked for. Raises ValueError when it lacks one."""
        out = self(images)
        check_names("teacher", maps, out.maps)
        return TeacherOutput(out.logits, out.embedding, {name: out.maps[name] for name in maps})


def check_names(whose: str, asked: Sequence[str], maps: Mapping[str, Tensor]) -> None:
    """Raises ValueError, listing those that exist, when a map that was asked for does not."""
    if unknown := [name for name in asked if name not in maps]:
        raise ValueError(f"the {whose} has no map {', '.join(unknown)}; it has {', '.join(maps) or 'none'}")


class ReIDNet(ReIDModule):
    """Backbone map -> global average pool -> embedding -> BNNeck -> classifier without bias; or without a neck, and
    with a bias."""

    def __init__(self, backbone: nn.Module, num_ids: int, embedding_dim: int | None, neck: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        channels = cast(int, backbone.out_channels)
        self.out_channels = embedding_dim or channels
        self.embedding = nn.Linear(channels, embedding_dim) if embedding_dim else nn.Identity()
        self.neck = nn.BatchNorm1d(self.out_channels) if neck else nn.Identity()
        classifier = nn.Linear(self.out_channels, num_ids, bias=not neck)
        nn.init.normal_(classifier.weight, std=0.01)
        self.classifier: nn.Module = classifier

    def forward(self, x: Tensor) -> ReIDOutput:
        return self.head(self.backbone(x))

    def head(self, maps: Mapping[str, Tensor]) -> ReIDOutput:
        """What follows the backbone, for its maps."""
        embedding = self.embedding(maps["map"].mean(dim=(2, 3)))
        feature = self.neck(embedding)
        return ReIDOutput(self.classifier(feature), embedding, feature, maps)


class ReIDSpace(StudentSpace):
    """A family of re-ID networks: each answers images `[B, 3, H, W]` with a `ReIDOutput`."""

    task = "reid"


@dataclass(frozen=True, kw_only=True)
class ReID(ReIDSpace):
    """A re-ID network with any backbone, whose decisions it takes over with `backbone.` before their names."""

    backbone: SearchSpace
    num_ids: Count | None = None
    """Number of training identities; None: as many as the data set has."""
    embedding_dim: Channels | None = 512
    """Length of the feature for retrieval; None: the pooled map is the feature."""
    neck: bool = field(default=True, metadata=ADDED)
    """Whether a BatchNorm stands between embedding and classifier (BNNeck, Luo et al. 2019); without one both losses
    and the retrieval take the same feature."""

    @property
    def title(self) -> str:
        return self.backbone.title

    def with_ids(self, num_ids: int) -> ReID:
        check_num_ids(self.num_ids, num_ids)
        return replace(self, num_ids=num_ids)

    def build(self, pick: Pick, c_in: int = 3) -> ReIDNet:
        if not self.num_ids:
            raise ValueError("num_ids must be the number of training identities: use with_ids(...)")
        return ReIDNet(self.backbone.build(pick.within("backbone"), c_in), self.num_ids, self.embedding_dim, self.neck)
