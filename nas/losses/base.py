"""What a network is trained for: a sum of parts, with the teacher's temperature over the epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nas.data.batches import Batch
from nas.strategies.base import Losses
from students.reid import ReIDOutput
from teachers.temperature import Falling, Temperature


class Loss(ABC):
    """A frozen dataclass with a field `temperature`, the teacher's over the epochs."""

    temperature: Temperature

    @abstractmethod
    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars: `total`, which is minimised, and the parts it is made of, unweighted. `batch.teacher` is a
        `TeacherOutput`, or None where nobody teaches."""

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        """The teacher's maps that it needs."""
        return ()

    def at(self, epoch: int, num_epochs: int) -> Loss:
        """The loss of the 0-based `epoch` of `num_epochs`: always the same, unless a part joins later."""
        return self


def check_stays_above_zero(temperature: Temperature) -> None:
    """Raises ValueError for a temperature that falls to 0, where a loss divides by it."""
    if isinstance(temperature, Falling) and temperature.end == 0:
        raise ValueError(
            f"this loss needs a temperature above 0 in every epoch, and {temperature} ends at 0: set its "
            "end to 1, or take KDASLoss"
        )
