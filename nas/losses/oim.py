"""Person search: what a detector that tells persons apart is trained for, and what its teachers add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from nas.losses.base import Loss, Losses
from nas.ranges import NonNegative
from students.losses import box_regression, cross_entropy, objectness, oim
from students.scenes import TABLE, SearchOutput
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class OIMLoss(Loss):
    """`L_rpn + L_rcn + weight * L_oim` (kd_person_search, Eq. 3): a detector's losses, and online instance matching."""

    weight: NonNegative = 1.0
    """Of the identities (lambda_oim); the paper takes 0.1 with a fixed table."""
    fixed_table: bool = False
    """KD_reid: the identities' table is the teacher's from the first step on, and is never updated."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=10.0))

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        return (TABLE,) * self.fixed_table

    def __call__(self, out: SearchOutput, batch: Any, temperature: float) -> Losses:
        """Scalars `total`, `rpn_class`, `rpn_box`, `class`, `box` and, of a network that has identities, `oim`."""
        parts = {
            "rpn_class": objectness(out.objectness, out.anchor_labels, out.sampled),
            "rpn_box": box_regression(out.deltas, out.anchor_targets, out.anchor_labels, out.sampled),
            "class": cross_entropy(out.class_logits, out.roi_labels),
            "box": box_regression(out.box_deltas, out.roi_targets, out.roi_labels),
        }
        total = torch.stack([*parts.values()]).sum()
        if out.id_logits.shape[1]:
            parts["oim"] = oim(out.id_logits, out.roi_ids)
            total = total + self.weight * parts["oim"]
        return {"total": total, **parts}
