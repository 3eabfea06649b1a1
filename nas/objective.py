"""What a re-ID network is trained and searched for: KDAS-ReID's loss, and the objective of its search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from torch import nn

from nas.data.batches import Batch, Batches
from nas.strategies.base import Losses
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput
from teachers.signals import kdas_distillation
from teachers.teacher import Teacher
from teachers.temperature import Linear, Temperature


@dataclass(frozen=True, kw_only=True)
class KDASLoss:
    """`distill_weight * L_d + triplet_weight * L_t` (KDAS-ReID, Eq. 9); without a teacher L_d is the cross-entropy."""

    distill_weight: float = 1.0
    triplet_weight: float = 1.0
    margin: float = 0.3
    temperature: Temperature = field(default_factory=lambda: Linear(start=2.0, end=0.0))
    tied: bool = False
    """Whether the student's temperature follows the teacher's below 1 too: the literal reading."""
    label_smoothing: float = 0.0
    """Of the cross-entropy, where there is no teacher."""

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `distill` (or `identity` without a teacher) and `triplet`."""
        if batch.teacher is None:
            classify = {"identity": cross_entropy(out.logits, batch.labels, self.label_smoothing)}
        else:
            classify = {"distill": kdas_distillation(out.logits, batch.teacher, batch.labels, temperature, self.tied)}
        pull = triplet(out.embedding, batch.labels, self.margin)
        total = self.distill_weight * next(iter(classify.values())) + self.triplet_weight * pull
        return {"total": total, **classify, "triplet": pull}


def heard(batches: Iterable[Batch], teacher: Teacher | None) -> Iterator[Batch]:
    """The batches with what the teacher says of each: one forward pass, however often the batch is used."""
    for batch in batches:
        yield batch if teacher is None else batch._replace(teacher=teacher(batch.images))


@dataclass(frozen=True)
class SearchObjective:
    """KDAS-ReID's search objective: the same loss on both halves, the same temperature in an epoch (Algorithm 1)."""

    loss_function: KDASLoss
    weights: Batches
    alphas: Batches
    teacher: Teacher | None
    num_epochs: int
    alpha_loss_function: KDASLoss | None = None
    """What the alphas minimise; None: the weights' loss (the paper)."""

    @property
    def num_steps(self) -> int:
        return min(len(self.weights), len(self.alphas))

    def weight_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return self._heard(self.weights, epoch, start)

    def alpha_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return self._heard(self.alphas, epoch, start)

    def temperature(self, epoch: int) -> float | None:
        """The teacher's temperature in `epoch`; None without a teacher."""
        return self.loss_function.temperature.at(epoch, self.num_epochs) if self.teacher else None

    def record(self, epoch: int) -> dict[str, float | None]:
        return {"temperature": self.temperature(epoch)}

    def loss(self, net: nn.Module, batch: Batch, epoch: int) -> Losses:
        return self._loss(self.loss_function, net, batch, epoch)

    def alpha_loss(self, net: nn.Module, batch: Batch, epoch: int) -> Losses:
        return self._loss(self.alpha_loss_function or self.loss_function, net, batch, epoch)

    def _loss(self, function: KDASLoss, net: nn.Module, batch: Batch, epoch: int) -> Losses:
        return function(net(batch.images), batch, function.temperature.at(epoch, self.num_epochs))

    def _heard(self, batches: Batches, epoch: int, start: int) -> Iterator[Batch]:
        return heard(islice(batches(epoch, start), self.num_steps - start), self.teacher)
