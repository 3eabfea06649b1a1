"""Trials of a search that several workers share: each replays one journal, and so all know and propose the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from nas.strategies.base import Journal, Score
from nas.strategies.halving import Halving
from search_spaces.architecture import Architecture


@dataclass(frozen=True)
class Trial:
    """An architecture with its score."""

    architecture: Architecture
    score: Score

    def to_dict(self) -> dict:
        pruned = {"pruned": True} if self.score.pruned else {}
        return {
            "score": self.score.value,
            "cost": self.score.cost,
            "seconds": self.score.seconds,
            **pruned,
            "architecture": self.architecture.to_dict(),
        }

    @classmethod
    def from_dict(cls, line: Mapping) -> Trial:
        score = Score(line["score"], line["cost"], line["seconds"], line.get("pruned", False))
        return cls(Architecture.from_dict(line["architecture"]), score)


def known(architecture: Architecture, tried: Iterable[Trial]) -> Score | None:
    """The score of an architecture that was tried before: it takes no time now."""
    return next((replace(trial.score, seconds=0.0) for trial in tried if trial.architecture == architecture), None)


class Proposer(Protocol):
    """Says what to try next. The same calls must lead to the same proposals: a search goes on by being replayed."""

    def ask(self, number: int) -> Architecture | None:
        """What trial `number` tries; None when all there is has been tried. Earlier ones may still be under way."""

    def tell(self, number: int, tried: Trial) -> None:
        """How trial `number` did."""


@dataclass
class Board:
    """What is known of all trials, and what is to be tried next."""

    proposer: Proposer
    journal: Journal
    num_trials: int
    minutes: float | None = None
    halving: Halving | None = None
    asked: list[Architecture] = field(default_factory=list)
    told: dict[int, Trial] = field(default_factory=dict)
    """By number, in the order in which the trials ended."""
    reports: dict[int, dict[int, float]] = field(default_factory=dict)
    """By epoch and number, the values of trials on their way."""

    def claim(self) -> tuple[int, Architecture] | None:
        """A trial that is now this worker's; None when none is left, or what is left is with the others.

        What a dead worker had taken comes first. An architecture that another trial is at waits for that one's score.
        """
        with self.journal.lock():
            self._catch_up()
            if self.is_over:
                return None
            first: dict[Architecture, int] = {}
            waiting = []
            for number in (number for number in range(len(self.asked)) if number not in self.told):
                if first.setdefault(self.asked[number], number) != number:
                    waiting.append(number)
                elif self.journal.acquire(number):
                    return number, self.asked[number]
            if waiting or len(self.asked) == self.num_trials:
                return None
            number, architecture = len(self.asked), self.proposer.ask(len(self.asked))
            if architecture is None:
                self.num_trials = number
                return None
            self.asked.append(architecture)
            self.journal.add({"ask": number, "architecture": architecture.to_dict()})
            return (number, architecture) if architecture not in first and self.journal.acquire(number) else None

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes how trial `number` does after `epoch` epochs; whether it is to stop."""
        with self.journal.lock():
            self._catch_up()
            self.reports.setdefault(epoch, {})[number] = value
            self.journal.add({"report": number, "epoch": epoch, "value": value})
        return self.halving is not None and self.halving.stops(number, epoch, self.reports[epoch].items())

    def tell(self, number: int, score: Score) -> None:
        """Ends trial `number`, which this worker has taken."""
        tried = Trial(self.asked[number], score)
        with self.journal.lock():
            self._catch_up()
            self._tell(number, tried)
            self.journal.add({"tell": number, **tried.to_dict()})

    @property
    def tried(self) -> list[Trial]:
        """In the order in which they ended."""
        return list(self.told.values())

    @property
    def seconds(self) -> float:
        """What all trials took together."""
        return sum(tried.score.seconds for tried in self.told.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to be begun."""
        return len(self.told) == self.num_trials or (self.minutes is not None and self.seconds >= 60 * self.minutes)

    def catch_up(self) -> None:
        """Takes in what other workers, or this one before it was killed, have written."""
        with self.journal.lock():
            self._catch_up()

    def _catch_up(self) -> None:
        for line in self.journal.read_new():
            match line:
                case {"ask": number, "architecture": noted}:
                    asked = self.proposer.ask(number)
                    if asked is None or asked != Architecture.from_dict(noted):
                        raise ValueError(
                            f"the search cannot go on: trial {number} would be another one now, as if "
                            "libraries had other versions than before. Bring these back, or --overwrite to "
                            "start again"
                        )
                    self.asked.append(asked)
                case {"report": number, "epoch": epoch, "value": value}:
                    self.reports.setdefault(epoch, {})[number] = value
                case {"tell": number}:
                    self._tell(number, Trial.from_dict(line))

    def _tell(self, number: int, tried: Trial) -> None:
        self.told[number] = tried
        self.proposer.tell(number, tried)
