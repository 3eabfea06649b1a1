"""KDAS-ReID's loss."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from nas.data.batches import Batch
from nas.losses.base import Loss, Losses
from search_spaces.ranges import ADDED, NonNegative, ShareBelowOne
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput
from teachers.signals import kdas_distillation
from teachers.temperature import Linear, Temperature


@dataclass(frozen=True, kw_only=True)
class KDASLoss(Loss):
    """`distill_weight * L_d + triplet_weight * L_t` (KDAS-ReID, Eq. 9); without a teacher L_d is the cross-entropy."""

    task = "reid"
    takes_tensors = True

    distill_weight: NonNegative = 1.0
    """Weight of the distillation loss, or without a teacher of the cross-entropy."""
    triplet_weight: NonNegative = 1.0
    """Weight of the triplet loss; 0: none."""
    margin: NonNegative = 0.3
    """Margin of the triplet loss: how much farther the negative must be than the positive."""
    temperature: Temperature = field(default_factory=lambda: Linear(start=2.0, end=0.0))
    tied: bool = False
    """Whether the student's temperature follows the teacher's below 1 as well, as the paper literally says."""
    standardised: bool = field(default=False, metadata=ADDED)
    """Whether the logits of student and teacher are standardised, and the loss multiplied by T^2 (Sun et al. 2024)."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all identities in the cross-entropy that replaces a missing teacher; 0:
    none."""

    def listens(self, temperature: float | None) -> bool:
        """Not at T = 0, where `L_d` is the cross-entropy; but there labels are not smoothed, as without a teacher."""
        return temperature != 0 or self.label_smoothing > 0

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float | Tensor) -> Losses:
        """Scalars `total`, `distill` (or `identity` without a teacher) and `triplet`."""
        if batch.teacher is None:
            classify = {"identity": cross_entropy(out.logits, batch.labels, self.label_smoothing)}
        else:
            told = batch.teacher.logits
            how = (temperature, self.tied, self.standardised)
            classify = {"distill": kdas_distillation(out.logits, told, batch.labels, *how)}
        pull = triplet(out.embedding, batch.labels, self.margin)
        total = self.distill_weight * next(iter(classify.values())) + self.triplet_weight * pull
        return {"total": total, **classify, "triplet": pull}
