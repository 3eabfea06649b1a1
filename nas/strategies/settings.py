"""How a search uses its data, whatever the strategy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from nas.data.augment import Augment, SceneAugment
from nas.data.sampling import ClassBalanced, Sampling
from nas.losses.base import Loss
from search_spaces.ranges import Name, Ranged, TwoOrMore


@dataclass(frozen=True, kw_only=True)
class Search(Ranged):
    """The two halves of a search. The defaults are KDAS-ReID's (section 4.2.1)."""

    sampling: Sampling = field(default_factory=lambda: ClassBalanced(num_ids=8, images_per_id=2))
    augment: Augment | SceneAugment = field(default_factory=Augment)
    split: Literal["image", "identity"] = "image"
    """Halve each identity's images (the paper), or keep 2/5 of the identities for the alphas alone (MSINet)."""
    alpha_loss: Loss | None = None
    """What the alphas minimise; None: what the weights do (the paper)."""
    cost: Literal["multiply_adds", "latency_ms"] = "multiply_adds"
    """Which cost of a tried network NSGA-II and the front weigh against mAP: multiply-adds, or ms for one image."""
    parameters: Name | None = None
    """What is searched together with the architecture, by the name that `nas tune --parameters` takes: distillation,
    fast_reid, vrkd; None: nothing."""
    num_measured_ids: TwoOrMore | None = None
    """The most identities of the alphas' half that a network is measured on; None: all that two cameras see."""

    def small(self) -> Search:
        """The same with small batches."""
        return replace(
            self,
            sampling=self.sampling.small(),
            augment=self.augment.small(),
            alpha_loss=self.alpha_loss and self.alpha_loss.small(),
        )
