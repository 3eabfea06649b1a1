"""Person search guided by the query: what QEEPS adds to online instance matching."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.losses.base import Loss, Losses, WrappedLoss, with_parts
from nas.losses.oim import OIMLoss
from search_spaces.ranges import NonNegative
from students.losses import objectness, similarity


@dataclass(frozen=True, kw_only=True)
class QueryGuidedLoss(WrappedLoss):
    """`each + rpn_weight * L_qrpn + similarity_weight * L_sim` (Munjal et al. 2019); the paper's weights are not known.

    A network that no query guides, such as a baseline on the same pairs of frames, is trained for `each` alone.
    """

    trains_query = True

    each: Loss = field(default_factory=OIMLoss)
    rpn_weight: NonNegative = 1.0
    """Weight of the loss of the anchors that are the query's person (L_qrpn)."""
    similarity_weight: NonNegative = 1.0
    """Weight of the loss of the persons that are the query's (L_sim)."""

    def __call__(self, out: Any, batch: Any, temperature: float) -> Losses:
        """What `each` gives and, of a query-guided network, `query_rpn` and `similarity`."""
        losses = self.each(out, batch, temperature)
        if out.guided is None:
            return losses
        parts = {
            "query_rpn": objectness(out.guided.objectness, out.guided.anchor_labels, out.guided.sampled),
            "similarity": similarity(out.guided.similarity, out.guided.same),
        }
        return with_parts(losses, parts, {"query_rpn": self.rpn_weight, "similarity": self.similarity_weight})
