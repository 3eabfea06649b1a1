"""How retrieval is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nas.metrics.rerank import Rerank
from nas.tasks.base import ADDS, ONLY_SHOWN
from search_spaces.ranges import Count, CountOrZero, Identity, Ranged, RuntimeName


@dataclass(frozen=True, kw_only=True)
class Evaluation(Ranged):
    """How retrieval is measured."""

    distance: Literal["cosine", "euclidean"] = "cosine"
    """Distance that ranks the gallery."""
    ap: Literal["plain", "trapezoid"] = "plain"
    """Average precision by its plain definition, or by the trapezoid of Market-1501's MATLAB code."""
    same_camera: Literal["remove", "keep"] = "remove"
    """Whether gallery images of the query's identity and camera are taken out of the ranking."""
    rerank: bool = field(default=False, metadata=ADDS)
    """Report each network a second time, after k-reciprocal re-ranking."""
    reranking: Rerank = field(default_factory=Rerank, metadata={"part_of": "rerank"})
    repeats: Count = 10
    """Largest number of repeats, for a protocol with repeats (VehicleID); mean and deviation are reported."""
    flip: bool = False
    """Average the features of each image and its mirror image."""
    runtime: RuntimeName = "onnxruntime"
    """What the milliseconds are of: ONNX Runtime on the CPU, or with CUDA or TensorRT; OpenVINO; or PyTorch on the
    run's device, compiled or not."""
    batch_size: Count = field(default=128, metadata=ONLY_SHOWN)
    """Images in a forward pass."""
    num_strips: CountOrZero = field(default=10, metadata=ONLY_SHOWN)
    """Queries drawn with their ranked gallery; 0: none."""
    num_thumbnails: CountOrZero = field(default=60, metadata=ONLY_SHOWN)
    """Queries whose images are part of the report, with those that were found for them; 0: none."""
    activation_maps: bool = field(default=False, metadata=ONLY_SHOWN)
    """Lay over the images of the report where the last network looks (Grad-CAM); needs the package grad-cam."""
    tsne_ids: tuple[Identity, ...] = field(default=(), metadata=ONLY_SHOWN)
    """Identities whose gallery features are plotted (t-SNE); none given: nine that many cameras have seen."""
