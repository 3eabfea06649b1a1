"""What a teacher's embedding adds to a loss: how the images of a batch lie to each other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nas.losses.base import Loss, Losses, TaughtLoss
from nas.losses.labels import LabelLoss
from search_spaces.ranges import NonNegative, Positive
from teachers.relations import pkt, rkd_angle, rkd_distance, similarity_preserving


@dataclass(frozen=True, kw_only=True)
class RelationLoss(TaughtLoss):
    """Its parts compare relations of embeddings, whose widths may differ.

    The embeddings are those before the BNNeck. Of a network with branches they are the main branch's.
    """

    compares_embeddings = True

    each: Loss = field(default_factory=LabelLoss)

    @abstractmethod
    def relations(self, student: Tensor, teacher: Tensor) -> Losses:
        """The parts that have a weight, of two embeddings `[B, D]` and `[B, E]`."""

    @property
    def least_images(self) -> int:
        return max(2, self.each.least_images)

    def parts(self, out: Any, teacher: Any) -> Losses:
        return self.relations(_embedding("student", out), _embedding("teacher", teacher))


@dataclass(frozen=True, kw_only=True)
class RKDLoss(RelationLoss):
    """`each + distance_weight * L_RKD-D + angle_weight * L_RKD-A` (Park et al. 2019, Eq. 11).

    The weights are those of the paper's metric learning; for classification it takes 25 and 50.
    """

    distance_weight: NonNegative = 1.0
    """Weight of the loss of distances between two images; 0: none."""
    angle_weight: NonNegative = 2.0
    """Weight of the loss of angles between three images; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(self.weights.values()):
            raise ValueError(
                "RKDLoss needs a distance_weight or an angle_weight above 0, both are 0: without them take its each, "
                f"{type(self.each).__name__}, alone"
            )

    @property
    def weights(self) -> Mapping[str, float]:
        return {"distance": self.distance_weight, "angle": self.angle_weight}

    @property
    def least_images(self) -> int:
        return max(3 if self.angle_weight else 2, self.each.least_images)

    def relations(self, student: Tensor, teacher: Tensor) -> Losses:
        compared = {"distance": rkd_distance, "angle": rkd_angle}
        return {name: compared[name](student, teacher) for name, weight in self.weights.items() if weight}


@dataclass(frozen=True, kw_only=True)
class CosineLoss(RelationLoss):
    """It compares cosines of two images' embeddings.

    Deviation: embeddings are centred first. Those of a ResNet without an FC layer are behind a ReLU, so that the cosine
    of any two images is near 1 (.993 with a deviation of .002 in the demo's teacher) and says nothing; centred it is
    spread (.26) as behind the BNNeck (.25), where retrieval takes it.
    """

    centred: bool = True
    """Whether the embeddings' mean in the batch is taken away first; the papers do not."""

    @property
    def least_images(self) -> int:
        return max(3 if self.centred else 2, self.each.least_images)


@dataclass(frozen=True, kw_only=True)
class SimilarityLoss(CosineLoss):
    """`each + similarity_weight * L_SP`: images are as similar as the teacher finds them (Tung & Mori 2019, Eq. 5)."""

    similarity_weight: Positive = 20.0
    """Weight of the loss of similarities (the paper's gamma of 3,000 is of a mean over B^2: about 23 at B = 128)."""

    @property
    def weights(self) -> Mapping[str, float]:
        return {"similarity": self.similarity_weight}

    def relations(self, student: Tensor, teacher: Tensor) -> Losses:
        return {"similarity": similarity_preserving(student, teacher, self.centred)}


@dataclass(frozen=True, kw_only=True)
class PKTLoss(CosineLoss):
    """`each + pkt_weight * L_PKT`: which images are likely neighbours, as the teacher says (Passalis & Tefas 2018).

    The paper trains with L_PKT alone.
    """

    pkt_weight: Positive = 20.0
    """Weight of the divergence of the probabilities of neighbours."""

    @property
    def weights(self) -> Mapping[str, float]:
        return {"pkt": self.pkt_weight}

    def relations(self, student: Tensor, teacher: Tensor) -> Losses:
        return {"pkt": pkt(student, teacher, self.centred)}


def _embedding(whose: str, said: Any) -> Tensor:
    embedding = getattr(said, "embedding", None)
    if not isinstance(embedding, Tensor) or embedding.ndim != 2 or not embedding.shape[1]:
        raise ValueError(
            f"relations need an embedding [B, D] of the {whose}, and its output ({type(said).__name__}) has none: take "
            f"a {whose} that is a re-ID network, or a loss of its logits (kd, dist, dkd)"
        )
    return embedding
