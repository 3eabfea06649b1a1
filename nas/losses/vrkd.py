"""VRKD's losses: of a student, and of its directional teacher."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from torch import Tensor

from nas.data.batches import Batch
from nas.losses.base import Loss, Losses, WrappedLoss, check_stays_above_zero
from nas.losses.labels import LabelledLoss
from search_spaces.ranges import NonNegative, ShareBelowOne
from students.reid import ReIDOutput
from teachers.signals import vrkd
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class VRKDLoss(LabelledLoss):
    """`CE + distill_weight * KL(p_t || p_s) + triplet_weight * L_t` (VRKD, Eq. 1), without a teacher its other parts.

    Of its directions see `teachers.signals.vrkd`.
    """

    distill_weight: NonNegative = 1.0
    """Weight of what the teacher says (the paper's lambda)."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=2.0))
    direction: Literal["usual", "printed"] = "usual"
    """Which way the divergence is taken: as usual, from the teacher's distribution, or as the paper's Eq. 2 is
    printed."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread over all identities in the cross-entropy; 0: none (the paper's LSR: 0.1)."""
    triplet_weight: NonNegative = 0.0
    """Weight of the triplet loss; 0: none (the paper's TRI: 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stays_above_zero(self.temperature)

    def listens(self, temperature: float | None) -> bool:
        return self.distill_weight > 0

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `distill` with a teacher. Raises ValueError for T <= 0."""
        parts = self.labelled(out, batch)
        total = parts["identity"] + self.triplet_weight * parts["triplet"]
        if batch.teacher is not None:
            parts["distill"] = vrkd(out.logits, batch.teacher.logits, temperature, self.direction)
            total = total + self.distill_weight * parts["distill"]
        return {"total": total, **parts}


@dataclass(frozen=True, kw_only=True)
class BranchesLoss(WrappedLoss):
    """Each branch's own loss: networks that share no weights are trained side by side as if each were alone (VRKD,
    section 2.1). Of a network without branches it is the network's own."""

    each: Loss = field(default_factory=VRKDLoss)

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """The sum of each branch's `total`, and of each of its parts."""
        losses = [self.each(branch, batch, temperature) for branch in out.branches or (out,)]
        return {part: cast(Tensor, sum(one[part] for one in losses)) for part in losses[0]}
