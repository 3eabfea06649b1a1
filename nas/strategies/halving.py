"""Asynchronous successive halving and Hyperband (Li et al. 2018; Li et al. 2020): poor trials stop early."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from search_spaces.ranges import Count, Ranged, TwoOrMore


@dataclass(frozen=True, kw_only=True)
class Halving(Ranged):
    """After `factor`, `factor`^2 ... epochs a trial goes on if it is among the best `1 / factor` that came so far.

    Nobody waits for anybody: the first one to get there goes on (the stopping form of ASHA, as in Ray and Optuna).
    Hyperband deals the trials to brackets, of which each is spared one rung more than the one before, and has fewer.
    """

    kind: Literal["halving", "hyperband"] = "halving"
    """Successive halving, or Hyperband, which spares some trials the first rungs."""
    factor: TwoOrMore = 3
    """One of so many trials goes on at each rung."""
    epochs: Count
    """Epochs that a trial trains in full."""

    @property
    def all_rungs(self) -> list[int]:
        """Epochs after which some trial may stop: 1, `factor` and so on, less than all."""
        rungs = [1]
        while rungs[-1] * self.factor < self.epochs:
            rungs.append(rungs[-1] * self.factor)
        return [rung for rung in rungs if rung < self.epochs]

    def rungs(self, number: int) -> list[int]:
        """Those of trial `number`."""
        return self.all_rungs[self.bracket(number) :]

    def bracket(self, number: int) -> int:
        """Rungs that trial `number` is spared: none, but for Hyperband, whose brackets are as in Li et al. 2018,
        Algorithm 1, line 3, dealt in turns of all brackets together.
        """
        if self.kind == "halving":
            return 0
        most = len(self.all_rungs)
        sizes = [-(-(most + 1) * self.factor**left // (left + 1)) for left in range(most, -1, -1)]
        place = number % sum(sizes)
        return next(spared for spared in range(most + 1) if place < sum(sizes[: spared + 1]))

    def stops(self, number: int, epoch: int, values: Iterable[tuple[int, float]]) -> bool:
        """Whether trial `number` stops after `epoch` epochs. `values`: of the trials that came there, by number."""
        if epoch not in self.rungs(number):
            return False
        by_number = {other: value for other, value in values if self.bracket(other) == self.bracket(number)}
        best = sorted(by_number.values(), reverse=True)[: max(1, len(by_number) // self.factor)]
        return by_number[number] < best[-1]
