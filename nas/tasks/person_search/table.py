"""An identity table for person search, from a network for crops (kd_person_search, section 6.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.images import Images
from nas.data.scene_crops import crops_of
from nas.data.scenes import SceneSource
from nas.models.network import Network
from nas.tasks.reid.features import features_of
from nas.tasks.reid.feed import cached
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.ranges import Ranged
from teachers.person_search import IdentityTableOnly


@dataclass(frozen=True, kw_only=True)
class TableOfCrops(Ranged):
    """Which network describes the persons of which scenes, and how."""

    subject: Path
    """A network for crops: a safetensors file of this project."""
    data: SceneSource
    """The persons with an identity in its training frames are cut out."""
    images: Images = field(default_factory=lambda: Images(height=256, width=128))
    """The size that crops are brought to: the one that the network was trained with."""
    machine: Machine = field(default_factory=Machine)

    def network(self) -> Network:
        """The network. Raises ValueError when it is not for crops."""
        network = Network.load(self.subject)
        if network.space.task not in ("", "reid"):
            raise ValueError(
                f"{self.subject} must be a network for crops (reid), and is for {network.space.task}: its own table is "
                "taken with --teacher.weights"
            )
        return network

    def made(self) -> Network:
        """A teacher that is the table alone: of each identity the mean of its crops' features, all of length 1."""
        network, data = self.network(), self.data.load()
        crops = crops_of(data.train)
        stage = Stage(self.subject.parent, "identity-table", "", self.machine.alone(), quiet=True)
        features = features_of(stage.prepare(network.net), cached(crops, self.images), stage, Evaluation(), "crops")
        table = mean_features(features.cpu(), torch.from_numpy(crops.ids), data.identities)
        space = IdentityTableOnly(num_ids=len(table), embedding_dim=table.shape[1])
        net = space.student()
        net.fix(table)
        return Network(net, space, None, data.identities)


def mean_features(features: Tensor, ids: Tensor, identities: Sequence[int]) -> Tensor:
    """The mean direction of the features `[N, D]` of each identity, `[P, D]`, of length 1; `ids [N]` are theirs."""
    labels = torch.searchsorted(torch.tensor(identities), ids)
    sums = torch.zeros(len(identities), features.shape[1]).index_add_(0, labels, F.normalize(features))
    return F.normalize(sums)
