"""DKD: what a teacher says of the label's class and of the others, each with its own weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.data.batches import Batch
from nas.losses.base import Losses, check_stays_above_zero
from nas.losses.labels import LabelledLoss
from search_spaces.ranges import NonNegative
from students.reid import ReIDOutput
from teachers.signals import dkd, standardise
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class DKDLoss(LabelledLoss):
    """`CE + target_weight * TCKD + others_weight * NCKD + triplet_weight * L_t` (Zhao et al. 2022, Eq. 7).

    See `teachers.signals.dkd`. Without a teacher it is the cross-entropy and the triplet loss. The weights and T are
    the paper's for CIFAR-100. Deviation: none of its epochs of warm-up.
    """

    target_weight: NonNegative = 1.0
    """Weight of what the teacher says of the label's class (the paper's alpha); 0: none."""
    others_weight: NonNegative = 8.0
    """Weight of what the teacher says of the other classes (the paper's beta); 0: none."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=4.0))
    standardised: bool = False
    """Whether the logits of student and teacher are standardised (Sun et al. 2024)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stays_above_zero(self.temperature)
        if not self.target_weight + self.others_weight:
            raise ValueError("DKDLoss needs a target_weight or an others_weight above 0: without them take LabelLoss")

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `target` and `others` with a teacher."""
        parts = self.labelled(out, batch)
        total = parts["identity"] + self.triplet_weight * parts["triplet"]
        if batch.teacher is not None:
            pair = (out.logits, batch.teacher.logits)
            own, told = map(standardise, pair) if self.standardised else pair
            parts["target"], parts["others"] = dkd(own, told, batch.labels, temperature)
            total = total + self.target_weight * parts["target"] + self.others_weight * parts["others"]
        return {"total": total, **parts}
