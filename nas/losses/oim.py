"""Person search: what a detector that tells persons apart is trained for, and what its teachers add."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.losses.base import Loss, Losses, check_stays_above_zero
from search_spaces.ranges import NonNegative, Ranged, Share
from students.losses import box_regression, cross_entropy, objectness, oim
from students.scenes import DETECTOR, TABLE, SearchOutput
from teachers.signals import bounded_regression, soft_detection
from teachers.temperature import Constant, Temperature


@dataclass(frozen=True, kw_only=True)
class DetectorKD(Ranged):
    """KD_det (Chen et al. 2017): what a detector says of the anchors and regions that the student is trained on.

    Classes are trained on `mu * CE + (1 - mu) * L_soft`, boxes on `smooth L1 + gamma * L_bounded`: see `soft_detection`
    and `bounded_regression`. Deviation: the bound counts persons alone, over the number of all boxes, as the smooth L1.
    """

    mu: Share = 0.5
    """Share of the labels in the loss of the detector's classes; the rest is what the teacher says."""
    gamma: NonNegative = 0.5
    """Weight of the bounded loss of the boxes, which counts where the student is worse than the teacher; 0: none."""
    background_weight: NonNegative = 1.5
    """Weight of the background in what the teacher says; a person counts 1."""
    margin: NonNegative = 0.0
    """How much better than the teacher's a box must be, in squared error, to count no more."""
    squared: bool = False
    """Whether what the teacher says of classes is multiplied by T^2; without that a high temperature leaves it hardly
    any gradient."""


@dataclass(frozen=True, kw_only=True)
class OIMLoss(Loss):
    """`L_rpn + L_rcn + weight * L_oim` (kd_person_search, Eq. 3): a detector's losses, and online instance matching.

    `HintLoss(each=OIMLoss(detector=DetectorKD()), hints=(...), hint_weight=0.5)` is all of Eq. 3.
    """

    task = "person_search"

    weight: NonNegative = 1.0
    """Weight of the loss that tells identities apart (lambda_oim); the paper takes 0.1 with a fixed table."""
    fixed_table: bool = False
    """Whether the identities' table is the teacher's from the first step on, and is never updated (KD_reid)."""
    detector: DetectorKD | None = None
    """How the teacher's detector is heard (KD_det); None: not at all."""
    temperature: Temperature = field(default_factory=lambda: Constant(value=10.0))
    """Temperature of the detector's classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector:
            check_stays_above_zero(self.temperature)

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        return (TABLE,) * self.fixed_table + (DETECTOR,) * bool(self.detector)

    def listens(self, temperature: float | None) -> bool:
        """To a detector, or to the teacher for its table, which costs no forward pass."""
        return bool(self.teacher_maps)

    def __call__(self, out: SearchOutput, batch: Any, temperature: float) -> Losses:
        """Scalars `total`, `rpn_class`, `rpn_box`, `class`, `box`; of a network that has identities `oim`; and of a
        detector that teaches `rpn_soft`, `rpn_bounded`, `soft`, `bounded`."""
        parts = {
            "rpn_class": objectness(out.objectness, out.anchor_labels, out.sampled),
            "rpn_box": box_regression(out.deltas, out.anchor_targets, out.anchor_labels, out.sampled),
            "class": cross_entropy(out.class_logits, out.roi_labels),
            "box": box_regression(out.box_deltas, out.roi_targets, out.roi_labels),
        }
        weights = dict.fromkeys(parts, 1.0)
        if out.id_logits.shape[1]:
            parts["oim"], weights["oim"] = oim(out.id_logits, out.roi_ids), self.weight
        if self.detector and batch.teacher is not None:
            how = self.detector
            parts |= _told(how, out, batch.teacher, temperature)
            weights |= {
                **dict.fromkeys(("rpn_class", "class"), how.mu),
                **dict.fromkeys(("rpn_soft", "soft"), 1 - how.mu),
                **dict.fromkeys(("rpn_bounded", "bounded"), how.gamma),
            }
        return {"total": torch.stack([weights[name] * part for name, part in parts.items()]).sum(), **parts}


def _told(how: DetectorKD, out: SearchOutput, said: Any, temperature: float) -> dict[str, Tensor]:
    """What a detector that `said` something of a batch adds to the student's losses, unweighted."""
    regions = said.regions(out.rois)
    soft = partial(
        soft_detection, temperature=temperature, background_weight=how.background_weight, squared=how.squared
    )
    bounded = partial(bounded_regression, margin=how.margin)
    return {
        "rpn_soft": soft(out.objectness.flatten(), said.objectness.flatten(), sampled=out.sampled.flatten()),
        "rpn_bounded": bounded(out.deltas, said.deltas, out.anchor_targets, out.anchor_labels, out.sampled),
        "soft": soft(out.class_logits, regions.class_logits),
        "bounded": bounded(out.box_deltas, regions.box_deltas, out.roi_targets, out.roi_labels),
    }
