"""What a classifier of identities is trained for by the labels, and the loss that hears no teacher."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nas.data.batches import Batch
from nas.losses.base import Loss, Losses
from search_spaces.ranges import NonNegative, ShareBelowOne
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput


@dataclass(frozen=True, kw_only=True)
class LabelledLoss(Loss):
    """A loss of which the cross-entropy and the triplet loss are parts."""

    task = "reid"

    triplet_weight: NonNegative = 1.0
    """Weight of the triplet loss; 0: none."""
    margin: NonNegative = 0.3
    """Margin of the triplet loss: how much farther the negative must be than the positive."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all identities in the cross-entropy; 0: none."""

    def labelled(self, out: ReIDOutput, batch: Batch) -> dict[str, Tensor]:
        """`identity` and `triplet`, unweighted."""
        return {
            "identity": cross_entropy(out.logits, batch.labels, self.label_smoothing),
            "triplet": triplet(out.embedding, batch.labels, self.margin),
        }


@dataclass(frozen=True, kw_only=True)
class LabelLoss(LabelledLoss):
    """`CE + triplet_weight * L_t`, from the labels alone, whether or not there is a teacher."""

    def listens(self, temperature: float | None) -> bool:
        return False

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity` and `triplet`."""
        parts = self.labelled(out, batch)
        return {"total": parts["identity"] + self.triplet_weight * parts["triplet"], **parts}
