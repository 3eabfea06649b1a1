"""A space asks, a Pick answers.

A search space reads like an ordinary network definition. Wherever the design is open it asks a Pick one of three
questions (`value`, `op`, `edges`), and whoever answers decides what comes out: an ordinary student (`Fixed`), an
architecture to try (`Sampled`), or a supernet that keeps all candidates (`search_spaces.relaxed.Relaxed`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TypeVar, cast

import numpy as np
from torch import Tensor, nn

from search_spaces.architecture import Answer, Architecture, V, by_input, check_edges, check_value, parse_edge

Make = Callable[[], nn.Module]

Edges = Mapping[int, Mapping[str, Make]]

A = TypeVar("A", bound=Answer)


class Pick(ABC):
    """Answers a space's questions. The same name is the same decision, however often it is asked."""

    affine = True
    """Whether the BatchNorm behind a candidate learns a scale and shift: not while all candidates are kept (DARTS)."""

    def __init__(self) -> None:
        self.prefix = ""

    def within(self, prefix: str) -> Pick:
        """The same Pick for a space inside a space: it puts `prefix.` before every name."""
        inner = copy.copy(self)
        inner.prefix = f"{self.prefix}{prefix}."
        return inner

    @abstractmethod
    def value(self, name: str, options: Sequence[V]) -> V:
        """One of several values (a width, a depth, a branch point). One option alone is not a question."""

    @abstractmethod
    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        """One of several modules, each made by calling its maker.

        Any module will do that has `.out_channels` and leaves its input as it is.
        """

    @abstractmethod
    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        """`keep` of the earlier states with one operation on each: a module from the list of states to their sum.

        `makers` maps each earlier state's index to its operations; `published` is the published answer (`"op@input"`).
        """


def candidates(decision: str, makers: Mapping[str, Make]) -> dict[str, nn.Module]:
    """All candidates of a decision, made. Raises ValueError naming one that does not say its `out_channels`."""
    made = {option: make() for option, make in makers.items()}
    for option, module in made.items():
        if not isinstance(getattr(module, "out_channels", None), int):
            raise ValueError(
                f"the candidate {option!r} of {decision} must have out_channels, the channels of the map it returns; "
                f"{type(module).__name__} has none: set self.out_channels, a whole number, in its __init__"
            )
    return made


class Node(nn.Module):
    """The sum of one operation on each of some earlier states (DARTS, Eq. 1)."""

    def __init__(self, answer: Sequence[str], makers: Edges) -> None:
        super().__init__()
        chosen = [parse_edge(edge) for edge in answer]
        self.inputs = [source for _, source in chosen]
        self.ops = nn.ModuleList(makers[source][op]() for op, source in chosen)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return reduce(add, (op(states[i]) for op, i in zip(self.ops, self.inputs, strict=True)))


class Discrete(Pick):
    """Answers with exactly one option, and remembers what was asked and what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}

    @abstractmethod
    def choose(self, name: str, options: Sequence[V]) -> V: ...

    @abstractmethod
    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, published: Sequence[str]
    ) -> tuple[str, ...]: ...

    def value(self, name: str, options: Sequence[V]) -> V:
        return options[0] if len(options) == 1 else self._answer(name, lambda full: self.choose(full, options))

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        return makers[self.value(name, list(makers))]()

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        options = {source: list(ops) for source, ops in makers.items()}
        published = published or [f"{ops[0]}@{source}" for source, ops in options.items()][:keep]
        return Node(
            self._answer(name, lambda full: by_input(self.choose_edges(full, options, keep, published))), makers
        )

    def _answer(self, name: str, choose: Callable[[str], A]) -> A:
        full = self.prefix + name
        if full not in self.answers:
            self.answers[full] = choose(full)
        return cast(A, self.answers[full])


class Fixed(Discrete):
    """Answers from an architecture; without one, with each question's first option: the published design."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.architecture = architecture

    def choose(self, name: str, options: Sequence[V]) -> V:
        answer = self._decided(name, options[0])
        check_value(name, answer, options)
        return cast(V, answer)

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, published: Sequence[str]
    ) -> tuple[str, ...]:
        answer = self._decided(name, tuple(published))
        check_edges(name, answer, options, keep)
        return cast(tuple[str, ...], answer)

    def _decided(self, name: str, published: Answer) -> Answer:
        if self.architecture is None:
            return published
        if name not in self.architecture.decisions:
            raise ValueError(
                f"the architecture (of space {self.architecture.space!r}) does not decide {name!r}; "
                f"it decides {_listed(self.architecture.decisions)}"
            )
        return self.architecture.decisions[name]

    def close(self) -> None:
        """Raises ValueError when the architecture decides something that the space never asked."""
        if self.architecture is None:
            return
        if unknown := set(self.architecture.decisions) - set(self.answers):
            raise ValueError(
                f"the architecture (of space {self.architecture.space!r}) decides {_listed(unknown)}, "
                f"which this space does not ask; it asks {_listed(self.answers) or 'nothing'}"
            )


class EveryCandidate(Fixed):
    """The published answers, but every candidate is made: `candidates` says what one lacks."""

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        candidates(self.prefix + name, makers)
        return super().op(name, makers)

    def edges(self, name: str, makers: Edges, keep: int, published: Sequence[str] = ()) -> nn.Module:
        for source, of_edge in makers.items():
            candidates(f"{self.prefix}{name}<{source}", of_edge)
        return super().edges(name, makers, keep, published)


class Sampled(Discrete):
    """Answers by chance, keeping what `near` decides: leave one decision out of `near` and it is a mutation."""

    def __init__(self, rng: np.random.Generator, near: Architecture | None = None) -> None:
        super().__init__()
        self.rng = rng
        self.near = near.decisions if near else {}

    def choose(self, name: str, options: Sequence[V]) -> V:
        if name in self.near:
            check_value(name, self.near[name], options)
            return cast(V, self.near[name])
        return options[int(self.rng.integers(len(options)))]

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, published: Sequence[str]
    ) -> tuple[str, ...]:
        if name in self.near:
            check_edges(name, self.near[name], options, keep)
            return cast(tuple[str, ...], self.near[name])
        sources = sorted(self.rng.choice(list(options), size=keep, replace=False).tolist())
        return tuple(f"{options[source][int(self.rng.integers(len(options[source])))]}@{source}" for source in sources)


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
