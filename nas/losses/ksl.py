"""What KSL trains for: each branch's own loss, and that the branches agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from nas.data.batches import Batch
from nas.losses.base import Losses, WrappedLoss, with_parts
from nas.losses.dist import DISTLoss
from nas.losses.dkd import DKDLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.vrkd import VRKDLoss
from search_spaces.ranges import ADDED, CountOrZero, NonNegative
from students.losses import ksl_ea, ksl_ep, ksl_h, ksl_pa, ksl_pp
from students.reid import ReIDOutput


@dataclass(frozen=True, kw_only=True)
class KSLLoss(WrappedLoss):
    """`L_aux + L_p + L_e + L_h` (KSL, Eq. 1), each part with its weight.

    Of a network without branches it is the network's own loss.
    """

    trains_branches = True

    each: KDASLoss | KDLoss | VRKDLoss | DISTLoss | DKDLoss = field(default_factory=KDASLoss)
    """A branch's own loss: without a teacher cross-entropy and triplet loss (Eq. 2). All branches hear a teacher."""
    aux: NonNegative = 1.0
    """Weight of the auxiliary branches' own losses; 0: none."""
    pp: NonNegative = 1.0
    """Weight of KSL-PP, by which each branch imitates the probabilities of each other one; 0: none."""
    pa: NonNegative = 1.0
    """Weight of KSL-PA, by which each branch imitates the mean probabilities of the others; 0: none."""
    ep: NonNegative = 1.0
    """Weight of KSL-EP, which draws the embeddings of each two branches together; 0: none."""
    ea: NonNegative = 1.0
    """Weight of KSL-EA, which draws a branch's embedding to the mean of the others'; 0: none."""
    h: NonNegative = 1.0
    """Weight of KSL-H, the triplet loss between branches, with the same margin; 0: none."""
    triplet_from: CountOrZero = 150
    """Epoch from which the triplet losses and KSL-H are trained: from scratch they diverge at first (section 3.1)."""
    detached: bool = True
    """Whether what a branch imitates is a constant (KSL-P, KSL-EA)."""
    on: Literal["embedding", "feature"] = field(default="embedding", metadata=ADDED)
    """What KSL-E and KSL-H compare: the embedding before the BNNeck, which they can shrink, or the feature behind it.
    The paper does not say which."""
    e_joins: bool = field(default=False, metadata=ADDED)
    """Whether KSL-E joins at `triplet_from`, too, and is not there from the beginning."""

    def small(self) -> KSLLoss:
        return replace(self, triplet_from=min(self.triplet_from, 1))

    def at(self, epoch: int, num_epochs: int) -> KSLLoss:
        """The loss of the 0-based `epoch`. Raises ValueError when the triplet losses would never join."""
        if self.triplet_from >= num_epochs:
            raise ValueError(
                f"the triplet losses join at epoch {self.triplet_from}, but there are {num_epochs}: lower "
                "triplet_from (and the epoch of the sampling's switch), or train longer"
            )
        if epoch >= self.triplet_from:
            return self
        ep, ea = (0.0, 0.0) if self.e_joins else (self.ep, self.ea)
        return replace(self, ep=ep, ea=ea, h=0.0, each=replace(self.each, triplet_weight=0.0))

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """`total`, the main branch's own parts, `aux` (the sum of the auxiliary branches' own losses) and those of
        `pp`, `pa`, `ep`, `ea`, `h` that have a weight."""
        own = self.each(out, batch, temperature)
        if not out.branches:
            return own
        parts: dict[str, Any] = {
            "aux": sum(self.each(branch, batch, temperature)["total"] for branch in out.branches),
            **{name: part() for name, part in self._agreements(out, batch).items() if getattr(self, name)},
        }
        return with_parts(own, parts, {name: getattr(self, name) for name in parts})

    def _agreements(self, out: ReIDOutput, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        branches = (out, *out.branches)
        logits, compared = [b.logits for b in branches], [getattr(b, self.on) for b in branches]
        return {
            "pp": lambda: ksl_pp(logits, self.detached),
            "pa": lambda: ksl_pa(logits, self.detached),
            "ep": lambda: ksl_ep(compared),
            "ea": lambda: ksl_ea(compared, self.detached),
            "h": lambda: ksl_h(compared, batch.labels, self.each.margin),
        }
