"""Several networks that teach with one voice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.pick import Pick
from search_spaces.ranges import NotEmpty
from students.reid import ReIDModule, ReIDSpace
from students.space import StudentModule, StudentSpace


class EnsembleNet(ReIDModule):
    """Networks that each answer images with logits, embedding, feature and named maps, and so does it.

    The logits are the mean of theirs (VRKD, section 2.2), the embedding is theirs one behind the other. Of the features
    each is brought to length 1 first, so that the cosine of two images is the mean of the members'. The maps have the
    member's name in front (`0.layer3`); what each member says alone is in `branches`.
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        self.out_channels = sum(cast(int, member.out_channels) for member in members.values())

    def forward(self, x: Tensor) -> Any:
        said = {name: member(x) for name, member in self.members.items()}
        branches = tuple(said.values())
        return branches[0]._replace(
            logits=torch.stack([out.logits for out in branches]).mean(dim=0),
            embedding=torch.cat([out.embedding for out in branches], dim=1),
            feature=torch.cat([F.normalize(out.feature) for out in branches], dim=1),
            maps={f"{name}.{key}": one for name, out in said.items() for key, one in out.maps.items()},
            branches=branches,
        )


@dataclass(frozen=True, kw_only=True)
class Joined(StudentSpace):
    """Trained networks that teach together; `nas teach` joins the files that `--teacher.members` names.

    What member 1 decides has `1.` in front.
    """

    members: Annotated[tuple[StudentSpace, ...], NotEmpty()]

    def with_ids(self, num_ids: int) -> Self:
        return replace(self, members=tuple(member.with_ids(num_ids) for member in self.members))

    @abstractmethod
    def join(self, nets: Mapping[str, nn.Module]) -> StudentModule:
        """The members' networks, which are called by their places, as one."""

    def build(self, pick: Pick, c_in: int = 3) -> StudentModule:
        return self.join(
            {str(place): member.build(pick.within(str(place)), c_in) for place, member in enumerate(self.members)}
        )


@dataclass(frozen=True, kw_only=True)
class Ensemble(Joined, ReIDSpace):
    """Networks for crops that teach with the mean of their logits."""

    @property
    def title(self) -> str:
        return f"ensemble of {', '.join(member.title for member in self.members)}"

    def join(self, nets: Mapping[str, nn.Module]) -> EnsembleNet:
        return EnsembleNet(nets)
