"""How retrieval is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nas.metrics.rerank import Rerank
from nas.tasks.base import ADDS, ONLY_SHOWN


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How retrieval is measured."""

    distance: Literal["cosine", "euclidean"] = "cosine"
    ap: Literal["plain", "trapezoid"] = "plain"
    """Average precision: the plain definition, or the trapezoid of Market-1501's MATLAB code."""
    same_camera: Literal["remove", "keep"] = "remove"
    """Whether gallery images of the query's identity and camera are taken out of the ranking."""
    rerank: bool = field(default=False, metadata=ADDS)
    """Report each network a second time, after k-reciprocal re-ranking."""
    reranking: Rerank = field(default_factory=Rerank, metadata={"part_of": "rerank"})
    repeats: int = 10
    """The most repeats of a protocol that repeats itself (VehicleID); the mean and its spread are reported."""
    flip: bool = False
    """Average the features of each image and its mirror image."""
    batch_size: int = field(default=128, metadata=ONLY_SHOWN)
    num_strips: int = field(default=10, metadata=ONLY_SHOWN)
    """Queries drawn with their ranked gallery."""
    tsne_ids: tuple[int, ...] = field(default=(), metadata=ONLY_SHOWN)
    """Identities whose gallery features are drawn in the plane; none: nine that many cameras see."""

    def __post_init__(self) -> None:
        if min(self.repeats, self.batch_size) < 1 or self.num_strips < 0:
            raise ValueError(
                "an evaluation needs repeats >= 1, batch_size >= 1 and num_strips >= 0, not "
                f"{self.repeats}, {self.batch_size} and {self.num_strips}"
            )
