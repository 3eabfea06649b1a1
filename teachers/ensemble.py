"""Several networks that teach with one voice."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EnsembleNet(nn.Module):
    """Networks that each answer images with logits, embedding, feature and named maps, and so does it.

    The logits are the mean of theirs (VRKD, section 2.2), the embedding is theirs one behind the other. Of the features
    each is brought to length 1 first, so that the cosine of two images is the mean of the members'. The maps have the
    member's name in front (`0.layer3`); what each member says alone is in `branches`.
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        self.out_channels = sum(member.out_channels for member in members.values())

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

    def inference(self) -> nn.Module:
        """What is measured, saved and exported: all members."""
        return self

    def repeat_weights(self) -> None:
        """Its members share no weights: nothing repeats."""
