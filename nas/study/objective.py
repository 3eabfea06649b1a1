"""What a re-ID network is searched for: a loss on two halves of the training set, and what the teacher says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from torch import nn

from nas.data.batches import Batch, Batches
from nas.losses.base import Loss
from nas.strategies.base import Losses, PruneCallback, Score
from search_spaces.architecture import Architecture
from teachers.teacher import Teacher

if TYPE_CHECKING:
    from nas.study.trials import Trials


def with_teacher(batches: Iterable[Batch], teacher: Teacher | None) -> Iterator[Batch]:
    """The batches with what the teacher says of each: one forward pass, however often the batch is used."""
    for batch in batches:
        yield batch if teacher is None else batch._replace(teacher=teacher(batch.images))


@dataclass(frozen=True)
class SearchObjective:
    """KDAS-ReID's search objective: the same loss on both halves, the same temperature in an epoch (Algorithm 1)."""

    loss_function: Loss
    weights: Batches
    alphas: Batches
    teacher: Teacher | None
    num_epochs: int
    alpha_loss_function: Loss | None = None
    """What the alphas minimise; None: the weights' loss (the paper)."""
    trials: Trials | None = None
    """What gives architectures their scores."""

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

    def value(self, net: nn.Module) -> float:
        return self.trials.value(net)

    def cost(self, architecture: Architecture) -> float:
        return self.trials.cost(architecture)

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        return self.trials.score(architecture, epochs, report)

    def _loss(self, function: Loss, net: nn.Module, batch: Batch, epoch: int) -> Losses:
        temperature = function.temperature.at(epoch, self.num_epochs)
        return function.at(epoch, self.num_epochs)(net(batch.images), batch, temperature)

    def _heard(self, batches: Batches, epoch: int, start: int) -> Iterator[Batch]:
        return with_teacher(islice(batches(epoch, start), self.num_steps - start), self.teacher)
