"""How a search uses its data, whatever the strategy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from nas.data.augment import Augment, SceneAugment
from nas.data.sampling import ClassBalanced, QueryPairs, Sampling
from nas.losses.base import Loss
from search_spaces.ranges import ADDED, Name, Ranged, RuntimeName, TwoOrMore


@dataclass(frozen=True, kw_only=True)
class Search(Ranged):
    """How a search splits the data and measures. The defaults are KDAS-ReID's (section 4.2.1)."""

    sampling: Sampling | QueryPairs = field(default_factory=lambda: ClassBalanced(num_ids=8, images_per_id=2))
    augment: Augment | SceneAugment = field(default_factory=Augment)
    split: Literal["image", "identity"] = "image"
    """Halve each identity's images (the paper), or keep 2/5 of the identities for the alphas alone (MSINet)."""
    alpha_loss: Loss | None = None
    """Loss of the alphas; None: that of the weights (the paper)."""
    cost: Literal["multiply_adds", "latency_ms"] = "multiply_adds"
    """Cost of an architecture, beside its mAP, for NSGA-II and the Pareto front: MACs, or ms for one image."""
    runtime: RuntimeName = "onnxruntime"
    """What times networks where a cost is in ms: ONNX Runtime on the CPU, or with CUDA or TensorRT; OpenVINO; or
    PyTorch on the run's device, compiled or not."""
    further: tuple[Name, ...] = field(default=(), metadata=ADDED)
    """What a search by trials weighs beside the mAP: detection_AP, of person search. NSGA-II has an objective for it,
    and the front is of all of them."""
    parameters: Name | None = None
    """What is searched together with the architecture, by the name that `nas tune --parameters` takes: distillation,
    fast_reid, vrkd; None: nothing."""
    num_measured_ids: TwoOrMore | None = None
    """Most identities of the alphas' half to measure a network on; None: all that two cameras have seen."""

    def small(self) -> Search:
        """The same with small batches."""
        return replace(
            self,
            sampling=self.sampling.small(),
            augment=self.augment.small(),
            alpha_loss=self.alpha_loss and self.alpha_loss.small(),
        )
