"""REINFORCE (Williams 1992) with a table of logits, as NAS-Bench-201 runs it (Dong and Yang 2020, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.strategies.board import Trial
from nas.strategies.discrete import DiscreteSearch
from search_spaces.architecture import Architecture, Value
from search_spaces.ranges import Positive, ShareBelowOne
from search_spaces.space import SearchSpace
from search_spaces.trial import proposed


@dataclass(frozen=True, kw_only=True)
class Reinforce(DiscreteSearch):
    """Raises the odds of the answers that did better than the trials before.

    Deviation: the reward is divided by the spread of the rewards so far, so that `lr` fits every score, and the step
    is plain ascent, not Adam.
    """

    lr: Positive = 0.2
    """Learning rate of the answers' logits, for each spread that a reward is above the baseline."""
    memory: ShareBelowOne = 0.9
    """Share of the rewards' running mean that each trial keeps; the rest is its own reward."""

    def proposer(self, space: SearchSpace, rng: np.random.Generator) -> Learner:
        return Learner(space, Policy(rng), self.lr, self.memory)


class Learner:
    """Proposes by a policy, which climbs with each reward."""

    def __init__(self, space: SearchSpace, policy: Policy, lr: float, memory: float) -> None:
        self.space, self.policy, self.lr, self.memory = space, policy, lr, memory
        self.drawn: dict[int, dict[str, int]] = {}
        self.rewards: list[float] = []
        self.baseline = 0.0

    def ask(self, number: int) -> Architecture:
        self.policy.drawn = self.drawn[number] = {}
        return proposed(self.space, self.policy)

    def tell(self, number: int, tried: Trial) -> None:
        reward = tried.score.value
        self.rewards.append(reward)
        drawn = self.drawn.pop(number)
        if len(self.rewards) == 1:
            self.baseline = reward
            return
        self.policy.ascend(drawn, self.lr * (reward - self.baseline) / max(float(np.std(self.rewards)), 1e-12))
        self.baseline = self.memory * self.baseline + (1 - self.memory) * reward


class Policy:
    """In an Optuna trial's place: draws every question's answer by the softmax of its logits."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.logits: dict[str, np.ndarray] = {}
        self.drawn: dict[str, int] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        odds = softmax(self.logits.setdefault(name, np.zeros(len(choices))))
        self.drawn[name] = int(self.rng.choice(len(choices), p=odds))
        return choices[self.drawn[name]]

    def ascend(self, drawn: Mapping[str, int], step: float) -> None:
        """`step` times the gradient of the log-probability of the answers `drawn`, by their places."""
        for name, place in drawn.items():
            gradient = -softmax(self.logits[name])
            gradient[place] += 1
            self.logits[name] = self.logits[name] + step * gradient


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()
