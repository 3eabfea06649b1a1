"""A Pick that passes a space's questions on to an Optuna trial, so that any Optuna sampler proposes architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from search_spaces.architecture import Architecture, V, Value, parse_edge
from search_spaces.pick import Discrete
from search_spaces.space import SearchSpace


class Suggests(Protocol):
    """What is needed of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""


class Trial(Discrete):
    """Answers with what the trial suggests. The published answer is always the first choice.

    A node with several inputs is several questions: `normal.3<1` for the operation on the edge from state 1, and
    `normal.3.inputs` (`"0+1"`) for the edges that stay. Every edge is asked for its operation, whether it stays or
    not: a sampler learns most from questions that come up in every trial.
    """

    def __init__(self, trial: Suggests) -> None:
        super().__init__()
        self.trial = trial

    def choose(self, name: str, options: Sequence[V]) -> V:
        return self.trial.suggest_categorical(name, list(options))

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, published: Sequence[str]
    ) -> tuple[str, ...]:
        published_ops = {source: op for op, source in map(parse_edge, published)}
        ops = {
            source: self._choose_first(f"{name}<{source}", choices, published_ops.get(source))
            for source, choices in options.items()
        }
        subsets = ["+".join(map(str, sources)) for sources in combinations(options, keep)]
        inputs = self._choose_first(f"{name}.inputs", subsets, "+".join(map(str, sorted(published_ops))))
        return tuple(f"{ops[int(source)]}@{source}" for source in inputs.split("+"))

    def _choose_first(self, name: str, choices: Sequence[str], first: str | None) -> str:
        """The trial's choice where `first`, if it is one of them, comes first; one choice alone is not a question."""
        ordered = sorted(choices, key=lambda choice: choice != first)
        return ordered[0] if len(ordered) == 1 else self.trial.suggest_categorical(name, ordered)


def proposed(space: SearchSpace, trial: Suggests) -> Architecture:
    """The architecture of `space` that `trial` suggests; nothing is allocated."""
    return space._answers(Trial(trial))


class Published:
    """In a trial's place: suggests the first choice of every question, and keeps it in `params`."""

    def __init__(self) -> None:
        self.params: dict[str, Value] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.params.setdefault(name, choices[0])
