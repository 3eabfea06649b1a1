"""Trials of a search that several workers share: each reads one journal, and so all know the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nas.strategies.base import Journal, Score
from nas.strategies.halving import Halving
from nas.strategies.trials import Proposal, Proposer, Trial
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


@dataclass
class Board:
    """What is known of all trials, and what is to be tried next."""

    proposer: Proposer
    space: SearchSpace
    seed: int
    journal: Journal
    num_trials: int
    minutes: float | None = None
    halving: Halving | None = None
    asked: list[Proposal] = field(default_factory=list)
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
                architecture = self.asked[number].architecture
                if first.setdefault(architecture, number) != number:
                    waiting.append(number)
                elif self.journal.acquire(number):
                    return number, architecture
            if waiting or len(self.asked) == self.num_trials:
                return None
            number = len(self.asked)
            rng = np.random.default_rng([self.seed, number])
            proposal = self.proposer.propose(self.space, number, self.tried, rng)
            if proposal is None:
                self.num_trials = number
                return None
            architecture = proposal.architecture
            self.asked.append(proposal)
            self.journal.add({"ask": number, "architecture": architecture.to_dict(), "notes": proposal.notes})
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
        asked = self.asked[number]
        tried = Trial(number, asked.architecture, score, asked.notes)
        with self.journal.lock():
            self._catch_up()
            self.told[number] = tried
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
                case {"ask": _, "architecture": noted, "notes": notes}:
                    self.asked.append(Proposal(Architecture.from_dict(noted), notes))
                case {"report": number, "epoch": epoch, "value": value}:
                    self.reports.setdefault(epoch, {})[number] = value
                case {"tell": number}:
                    self.told[number] = replace(Trial.from_dict(line, number), notes=self.asked[number].notes)
