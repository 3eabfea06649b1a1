"""What a network is trained for: a sum of parts, with the teacher's temperature over the epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from search_spaces.ranges import Ranged
from students.space import StudentSpace
from teachers.temperature import Falling, Temperature

Losses = Mapping[str, Tensor]
"""Scalar tensors by name; `total` is what is minimised."""


class Loss(Ranged, ABC):
    """A frozen dataclass; one that softens a teacher has a field `temperature`, the teacher's over the epochs."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    temperature: Temperature | None = None
    trains_branches: ClassVar[bool] = False
    """Whether it reaches the branches of a network that has some."""
    trains_query: ClassVar[bool] = False
    """Whether it trains what a query-guided network has for the query."""
    takes_tensors: ClassVar[bool] = False
    """Whether it may be given a temperature above 0 as a tensor, too, whose value no branch depends on."""

    @abstractmethod
    def __call__(self, out: Any, batch: Any, temperature: float) -> Losses:
        """Of what the network says of a batch, scalars: `total`, which is minimised, and the parts it is made of,
        unweighted. `batch.teacher` is what the teacher says (a `TeacherOutput`), or None where nobody teaches. A loss
        without a field `temperature`, and one that nobody teaches, may be given any."""

    def temperature_at(self, epoch: int, num_epochs: int) -> float | None:
        """The teacher's in the 0-based `epoch` of `num_epochs`; None: it has none."""
        return self.temperature.at(epoch, num_epochs) if self.temperature else None

    def listens(self, temperature: float | None) -> bool:
        """Whether what the teacher says at that temperature is part of it. Where it is not, the teacher is not asked,
        and `batch.teacher` is None."""
        return True

    def num_listened(self, num_epochs: int) -> int:
        """In how many epochs of a training it listens to a teacher."""
        epochs = range(num_epochs)
        return sum(self.at(each, num_epochs).listens(self.temperature_at(each, num_epochs)) for each in epochs)

    @property
    def task(self) -> str:
        """What networks it trains, as `StudentSpace.task`. Empty: any."""
        return ""

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        """The teacher's maps that it needs."""
        return ()

    @property
    def compares_embeddings(self) -> bool:
        """Whether it needs the teacher's embedding."""
        return False

    @property
    def least_images(self) -> int:
        """The fewest images of a batch of which each of its parts says something."""
        return 1

    def at(self, epoch: int, num_epochs: int) -> Loss:
        """The loss of the 0-based `epoch` of `num_epochs`: always the same, unless a part joins later."""
        return self

    def check(self, space: StudentSpace, num_epochs: int) -> None:
        """Raises ValueError when it leaves a part of the network out, or is not complete by the last epoch."""
        if space.needs_query and not self.trains_query:
            raise ValueError(
                f"{space.title} needs a loss that trains what guides it: --loss qeeps, or QueryGuidedLoss(each=...) "
                f"around an OIMLoss, not {type(self).__name__} alone"
            )
        if space.has_branches and not self.trains_branches:
            name = type(self).__name__
            raise ValueError(
                f"the branches of {space.title} need a loss that trains them: --loss ksl, or KSLLoss(each=...) "
                f"around a KDASLoss, KDLoss or VRKDLoss, not {name} alone"
            )
        self.at(0, num_epochs)

    def small(self) -> Self:
        """The same for a training of two epochs."""
        return self


@dataclass(frozen=True, kw_only=True)
class WrappedLoss(Loss):
    """A loss made of another one, `each`, whose temperature and epochs are its own."""

    each: Loss

    @property
    def temperature(self) -> Temperature | None:  # type: ignore[override] # of a frozen dataclass: nobody sets it
        return self.each.temperature

    def listens(self, temperature: float | None) -> bool:
        return self.each.listens(temperature)

    @property
    def task(self) -> str:
        return self.each.task

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        return self.each.teacher_maps

    @property
    def compares_embeddings(self) -> bool:
        return self.each.compares_embeddings

    @property
    def least_images(self) -> int:
        return self.each.least_images

    def at(self, epoch: int, num_epochs: int) -> Self:
        return replace(self, each=self.each.at(epoch, num_epochs))

    def small(self) -> Self:
        return replace(self, each=self.each.small())


@dataclass(frozen=True, kw_only=True)
class TaughtLoss(WrappedLoss):
    """`each` and, under a teacher, parts of its own, each with its weight. Without a teacher it is `each` alone."""

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """Of its parts, by name."""

    @abstractmethod
    def parts(self, out: Any, teacher: Any) -> Losses:
        """Those that it has, of what the network and the teacher say of a batch."""

    def listens(self, temperature: float | None) -> bool:
        return True

    def check(self, space: StudentSpace, num_epochs: int) -> None:
        self.each.check(space, num_epochs)

    def __call__(self, out: Any, batch: Any, temperature: float) -> Losses:
        """What `each` gives, and with a teacher its parts. Raises ValueError naming what one of both does not say."""
        losses = self.each(out, batch, temperature)
        if batch.teacher is None:
            return losses
        return with_parts(losses, self.parts(out, batch.teacher), self.weights)


def with_parts(losses: Losses, parts: Losses, weights: Mapping[str, float]) -> Losses:
    """The losses with further parts, each of which counts in `total` by its weight."""
    total = losses["total"] + sum(weights[name] * part for name, part in parts.items())
    return {**losses, **parts, "total": total}


def check_stays_above_zero(temperature: Temperature) -> None:
    """Raises ValueError for a temperature that falls to 0, where a loss divides by it."""
    if isinstance(temperature, Falling) and temperature.end == 0:
        raise ValueError(
            f"this loss needs a temperature above 0 in every epoch, and {temperature} ends at 0: set its "
            "end to 1, or take KDASLoss"
        )
