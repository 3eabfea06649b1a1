"""Fast re-ID's loss: Hinton's distillation beside cross-entropy and triplet loss."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.data.batches import Batch
from nas.losses.base import Losses, check_stays_above_zero
from nas.losses.labels import LabelledLoss
from search_spaces.ranges import ADDED, Share
from students.reid import ReIDOutput
from teachers.signals import kd, standardise
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class KDLoss(LabelledLoss):
    """`alpha * T^2 * KL(p_t || p_s) + (1 - alpha) * CE + triplet_weight * L_t` (fast re-ID, Eq. 3 and Figure 6).

    Eq. 3 is printed with the student's distribution first; its text has the true one, the teacher's, there. Without a
    teacher it is the cross-entropy and the triplet loss.
    """

    alpha: Share = 0.1
    """Share of what the teacher says in the classification loss; the rest is the cross-entropy."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=5.0))
    standardised: bool = field(default=False, metadata=ADDED)
    """Whether the logits of student and teacher are standardised in what the teacher says (Sun et al. 2024)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stays_above_zero(self.temperature)

    def listens(self, temperature: float | None) -> bool:
        return self.alpha > 0

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `distill` with a teacher. Raises ValueError for T <= 0."""
        parts = self.labelled(out, batch)
        classify = parts["identity"]
        if batch.teacher is not None:
            pair = (out.logits, batch.teacher.logits)
            own, told = map(standardise, pair) if self.standardised else pair
            parts["distill"] = kd(own, told, temperature)
            classify = self.alpha * parts["distill"] + (1 - self.alpha) * parts["identity"]
        return {"total": classify + self.triplet_weight * parts["triplet"], **parts}
