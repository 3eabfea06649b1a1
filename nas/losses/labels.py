"""The loss that hears no teacher."""

from __future__ import annotations

from dataclasses import dataclass

from nas.data.batches import Batch
from nas.losses.base import Loss, Losses
from search_spaces.ranges import NonNegative, ShareBelowOne
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput


@dataclass(frozen=True, kw_only=True)
class LabelLoss(Loss):
    """`CE + triplet_weight * L_t`, from the labels alone, whether or not there is a teacher."""

    task = "reid"

    triplet_weight: NonNegative = 1.0
    """Weight of the triplet loss; 0: none."""
    margin: NonNegative = 0.3
    """Margin of the triplet loss: how much farther the negative must be than the positive."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all identities in the cross-entropy; 0: none."""

    def listens(self, temperature: float | None) -> bool:
        return False

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity` and `triplet`."""
        identity = cross_entropy(out.logits, batch.labels, self.label_smoothing)
        pull = triplet(out.embedding, batch.labels, self.margin)
        return {"total": identity + self.triplet_weight * pull, "identity": identity, "triplet": pull}
