"""REINFORCE (Williams 1992) with a table of logits, as NAS-Bench-201 runs it (Dong and Yang 2020, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.strategies.discrete import DiscreteSearch
from nas.strategies.places import Place
from nas.strategies.trials import Proposal, Trial
from search_spaces.architecture import Value
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

    def propose(self, space: SearchSpace, number: int, told: Sequence[Trial], rng: np.random.Generator) -> Proposal:
        policy = Policy(rng)
        self._teach(policy, told)
        architecture = proposed(space, policy)
        return Proposal(architecture, {"drawn": policy.drawn})

    def _teach(self, policy: Policy, told: Sequence[Trial]) -> None:
        """Lets the policy climb with each reward; the first is what the next are compared with."""
        if not told:
            return
        rewards = np.array([trial.score.value for trial in told])
        baseline = rewards[0]
        for place, (trial, reward) in enumerate(zip(told[1:], rewards[1:], strict=True), start=2):
            spread = max(rewards[:place].std(), 1e-12)
            policy.ascend(trial.notes["drawn"], self.lr * (reward - baseline) / spread)
            baseline = self.memory * baseline + (1 - self.memory) * reward


class Policy:
    """In an Optuna trial's place: draws every question's answer by the softmax of its logits."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.logits: dict[str, np.ndarray] = {}
        self.drawn: dict[str, Place] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        odds = softmax(self.logits.setdefault(name, np.zeros(len(choices))))
        place = int(self.rng.choice(len(choices), p=odds))
        self.drawn[name] = (place, len(choices))
        return choices[place]

    def ascend(self, drawn: Mapping[str, Place], step: float) -> None:
        """`step` times the gradient of the log-probability of the answers `drawn`."""
        for name, (place, num_options) in drawn.items():
            logits = self.logits.setdefault(name, np.zeros(num_options))
            gradient = -softmax(logits)
            gradient[place] += 1
            self.logits[name] = logits + step * gradient


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()
