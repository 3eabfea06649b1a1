"""How the teacher's temperature falls over a run (kdas section 3.3.3)."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from search_spaces.ranges import NonNegative, Positive, PositiveShare, Ranged


class Temperature(Ranged, ABC):
    """The distillation temperature T of each epoch."""

    @abstractmethod
    def at(self, epoch: int, num_epochs: int) -> float:
        """T for the 0-based `epoch` of a run of `num_epochs`."""


@dataclass(frozen=True, kw_only=True)
class Constant(Temperature):
    """The same T > 0 from first to last epoch: ordinary distillation."""

    value: Positive
    """Temperature of all epochs."""

    def at(self, epoch: int, num_epochs: int) -> float:
        _check_epoch(epoch, num_epochs)
        return self.value


@dataclass(frozen=True, kw_only=True)
class Falling(Temperature):
    """From `start` at epoch 0 to `end` at epoch `round(until * num_epochs)`, then constant.

    A short run is at `end` in its last epoch at the latest; a run of one epoch is at `start`.
    """

    start: Positive = 2.0
    """Temperature of the first epoch."""
    end: NonNegative = 0.0
    """Temperature at the end (KDAS-ReID: 0; its abstract: 1)."""
    until: PositiveShare = 0.95
    """Share of the epochs after which the temperature has reached its end (KDAS-ReID: 0.95)."""

    def at(self, epoch: int, num_epochs: int) -> float:
        _check_epoch(epoch, num_epochs)
        last = max(1, min(round(self.until * num_epochs), num_epochs - 1))
        remaining = self.remaining(min(epoch / last, 1.0))
        return remaining * self.start + (1 - remaining) * self.end

    @abstractmethod
    def remaining(self, progress: float) -> float:
        """Share of the way from `start` to `end` still to go, for a `progress` in [0, 1]: 1 at 0, 0 at 1."""


@dataclass(frozen=True, kw_only=True)
class Linear(Falling):
    """KDAS-ReID's schedule: T falls linearly from 2 to 0 at epoch 190 of 200 (its abstract ends at 1: `end=1.0`)."""

    def remaining(self, progress: float) -> float:
        return 1 - progress


@dataclass(frozen=True, kw_only=True)
class Cosine(Falling):
    """Half a cosine: slow at both ends, steepest in the middle. Not in the paper."""

    end: NonNegative = 1.0

    def remaining(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


def _check_epoch(epoch: int, num_epochs: int) -> None:
    if not 0 <= epoch < num_epochs:
        raise ValueError(f"epoch must be in 0..num_epochs-1, got epoch {epoch} of {num_epochs}")
