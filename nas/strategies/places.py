"""Answers by their places among the options: plain numbers, which every sampler knows how to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.architecture import Value
from search_spaces.trial import Suggests

Place = Sequence[int]
"""The place of an answer among the options, and how many options there are."""


class Places:
    """In an Optuna trial's place: lets it suggest the place of each answer, and notes the places by question."""

    def __init__(self, trial: Suggests) -> None:
        self.trial = trial
        self.drawn: dict[str, Place] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        place = self.trial.suggest_categorical(name, range(len(choices)))
        self.drawn[name] = (place, len(choices))
        return choices[place]
