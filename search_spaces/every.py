"""Every architecture of a space, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from search_spaces.architecture import Architecture, V, all_edges
from search_spaces.pick import Discrete
from search_spaces.space import SearchSpace


class Placed(Discrete):
    """Answers the questions, in their order, with the options at `places`, and those behind them with their first."""

    def __init__(self, places: Sequence[int] = ()) -> None:
        super().__init__()
        self.places = places
        self.num_options: list[int] = []
        """Of each question that was asked."""

    def choose(self, name: str, options: Sequence[V]) -> V:
        return options[self._next(len(options))]

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, published: Sequence[str]
    ) -> tuple[str, ...]:
        answers = all_edges(options, keep)
        return answers[self._next(len(answers))]

    def _next(self, num_options: int) -> int:
        number = len(self.num_options)
        self.num_options.append(num_options)
        return self.places[number] if number < len(self.places) else 0


def every_architecture(space: SearchSpace) -> Iterator[Architecture]:
    """Each architecture once, also of a space whose answers lead to other questions; nothing is allocated."""
    places: list[int] | None = []
    while places is not None:
        pick = Placed(places)
        yield space._answers(pick)
        places = _after([*places, *[0] * (len(pick.num_options) - len(places))], pick.num_options)


def num_combinations(space: SearchSpace) -> int:
    """Of the answers to the questions that the first of all architectures is asked: how many architectures there are,
    unless answers lead to other questions."""
    pick = Placed()
    space._answers(pick)
    return math.prod(pick.num_options)


def _after(places: list[int], num_options: Sequence[int]) -> list[int] | None:
    """The next places: the last one that can goes one further, and what is behind it is asked anew."""
    while places and places[-1] + 1 == num_options[len(places) - 1]:
        places.pop()
    return [*places[:-1], places[-1] + 1] if places else None
