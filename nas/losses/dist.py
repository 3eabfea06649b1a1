"""DIST: a student's output is to be correlated with its teacher's, not equal to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.data.batches import Batch
from nas.losses.base import Losses, check_stays_above_zero
from nas.losses.labels import LabelledLoss
from search_spaces.ranges import NonNegative
from students.reid import ReIDOutput
from teachers.signals import dist
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class DISTLoss(LabelledLoss):
    """`CE + inter_weight * L_inter + intra_weight * L_intra + triplet_weight * L_t` (Huang et al. 2022, Eq. 10).

    See `teachers.signals.dist`. Without a teacher it is the cross-entropy and the triplet loss.
    """

    inter_weight: NonNegative = 1.0
    """Weight of the correlation of an image's probabilities over the classes (the paper's beta); 0: none."""
    intra_weight: NonNegative = 1.0
    """Weight of the correlation of a class's probabilities over the images (the paper's gamma); 0: none."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stays_above_zero(self.temperature)
        if not self.inter_weight + self.intra_weight:
            raise ValueError("DISTLoss needs an inter_weight or an intra_weight above 0: without them take LabelLoss")

    @property
    def least_images(self) -> int:
        return 2 if self.intra_weight else 1

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `inter` and `intra` with a teacher."""
        parts = self.labelled(out, batch)
        total = parts["identity"] + self.triplet_weight * parts["triplet"]
        if batch.teacher is not None:
            parts["inter"], parts["intra"] = dist(out.logits, batch.teacher.logits, temperature)
            total = total + self.inter_weight * parts["inter"] + self.intra_weight * parts["intra"]
        return {"total": total, **parts}
