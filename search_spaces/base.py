"""A space asks, a Pick answers.

A search space reads like an ordinary network definition. Wherever the design is open it asks a Pick one of three
questions (`value`, `op`, `edges`), and whoever answers decides what comes out: an ordinary student (`Fixed`), an
architecture to try (`Sampled`), or a supernet that keeps all candidates (`search_spaces.relaxed.Relaxed`).
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from operator import add
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

Value = str | int | float | bool
Answer = Value | tuple[str, ...]
Make = Callable[[], nn.Module]
Edges = Mapping[int, Mapping[str, Make]]

FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """What a search decided: plain data, readable by later versions.

    `decisions` maps each question's name to its answer: a value, an operation's key, or for a node with several
    inputs a tuple of `"operation@input"` in the order of the inputs. `space` names the family of networks the
    decisions belong to.
    """

    space: str
    decisions: Mapping[str, Answer]

    def __post_init__(self) -> None:
        decisions = {name: by_input(a) if isinstance(a, tuple) else a for name, a in self.decisions.items()}
        object.__setattr__(self, "decisions", decisions)

    @property
    def hash(self) -> str:
        """Twelve hex digits that depend on the decisions alone, not on their order."""
        text = json.dumps(self.to_dict()["decisions"], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict:
        decisions = {name: list(a) if isinstance(a, tuple) else a for name, a in self.decisions.items()}
        return {"format": FORMAT, "space": self.space, "decisions": decisions}

    @classmethod
    def from_dict(cls, data: Mapping) -> Architecture:
        """Reads what `to_dict` wrote, in this or an earlier version. Raises ValueError naming what is wrong."""
        if not isinstance(data, Mapping) or not isinstance(data.get("decisions"), Mapping):
            raise ValueError('an architecture is {"format": 1, "space": NAME, "decisions": {NAME: ANSWER}}')
        version = data.get("format", FORMAT)
        if not isinstance(version, int) or version > FORMAT:
            raise ValueError(f"this version reads architectures up to format {FORMAT}, not {version!r}: update it")
        decisions = {name: tuple(a) if isinstance(a, list) else a for name, a in data["decisions"].items()}
        return cls(str(data.get("space", "")), decisions)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and dict(self.decisions) == dict(other.decisions)


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
    def value(self, name: str, options: Sequence[Value]) -> Value:
        """One of several values (a width, a depth, a branch point). One option alone is not a question."""

    @abstractmethod
    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        """One of several modules, each made by calling its maker."""

    @abstractmethod
    def edges(self, name: str, makers: Edges, keep: int, first: Sequence[str] = ()) -> nn.Module:
        """`keep` of the earlier states with one operation on each: a module from the list of states to their sum.

        `makers` maps each earlier state's index to its operations; `first` is the published answer (`"op@input"`).
        """


class Node(nn.Module):
    """The sum of one operation on each of some earlier states (DARTS, Eq. 1)."""

    def __init__(self, answer: Sequence[str], makers: Edges) -> None:
        super().__init__()
        chosen = [parse_edge(edge) for edge in answer]
        self.inputs = [source for _, source in chosen]
        self.ops = nn.ModuleList(makers[source][op]() for op, source in chosen)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return reduce(add, (op(states[i]) for op, i in zip(self.ops, self.inputs, strict=True)))


@runtime_checkable
class Staged(Protocol):
    """A backbone that can be cut between its stages, so that its end can be repeated (KSL).

    A backbone may do without.
    """

    out_channels: int

    def stages(self) -> Mapping[str, Sequence[nn.Module]]:
        """All of the network by name, in the order of the forward pass; nothing is in two stages.

        The modules of a stage run one after the other, the first stage's on the images, and leave their input as it
        is. What comes out is in the forward pass's maps under the stage's name, behind the last stage as `map`.
        """


def parse_edge(text: str) -> tuple[str, int]:
    """`"sep3@0"` -> `("sep3", 0)`."""
    op, _, source = text.rpartition("@")
    return op, int(source)


class Discrete(Pick):
    """Answers with exactly one option, and remembers what was asked and what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}

    @abstractmethod
    def choose(self, name: str, options: Sequence[Value]) -> Value: ...

    @abstractmethod
    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, first: Sequence[str]
    ) -> tuple[str, ...]: ...

    def value(self, name: str, options: Sequence[Value]) -> Value:
        return options[0] if len(options) == 1 else self._answer(name, lambda full: self.choose(full, options))

    def op(self, name: str, makers: Mapping[str, Make]) -> nn.Module:
        return makers[self.value(name, list(makers))]()

    def edges(self, name: str, makers: Edges, keep: int, first: Sequence[str] = ()) -> nn.Module:
        options = {source: list(ops) for source, ops in makers.items()}
        first = first or [f"{ops[0]}@{source}" for source, ops in options.items()][:keep]
        return Node(self._answer(name, lambda full: by_input(self.choose_edges(full, options, keep, first))), makers)

    def _answer(self, name: str, choose: Callable[[str], Answer]) -> Answer:
        full = self.prefix + name
        if full not in self.answers:
            self.answers[full] = choose(full)
        return self.answers[full]


class Fixed(Discrete):
    """Answers from an architecture; without one, with each question's first option: the published design."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.architecture = architecture

    def choose(self, name: str, options: Sequence[Value]) -> Value:
        answer = self._decided(name, options[0])
        check_value(name, answer, options)
        return answer

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, first: Sequence[str]
    ) -> tuple[str, ...]:
        answer = self._decided(name, tuple(first))
        check_edges(name, answer, options, keep)
        return answer

    def _decided(self, name: str, first: Answer) -> Answer:
        if self.architecture is None:
            return first
        if name not in self.architecture.decisions:
            raise ValueError(
                f"the architecture (of space {self.architecture.space!r}) does not decide {name!r}; "
                f"it decides {_listed(self.architecture.decisions)}"
            )
        return self.architecture.decisions[name]

    def close(self) -> None:
        """Raises ValueError when the architecture decides something that the space never asked."""
        unknown = set(self.architecture.decisions if self.architecture else ()) - set(self.answers)
        if unknown:
            raise ValueError(
                f"the architecture (of space {self.architecture.space!r}) decides {_listed(unknown)}, "
                f"which this space does not ask; it asks {_listed(self.answers) or 'nothing'}"
            )


class Sampled(Discrete):
    """Answers by chance, keeping what `near` decides: leave one decision out of `near` and it is a mutation."""

    def __init__(self, rng: np.random.Generator, near: Architecture | None = None) -> None:
        super().__init__()
        self.rng = rng
        self.near = near.decisions if near else {}

    def choose(self, name: str, options: Sequence[Value]) -> Value:
        if name in self.near:
            check_value(name, self.near[name], options)
            return self.near[name]
        return options[self.rng.integers(len(options))]

    def choose_edges(
        self, name: str, options: Mapping[int, Sequence[str]], keep: int, first: Sequence[str]
    ) -> tuple[str, ...]:
        if name in self.near:
            check_edges(name, self.near[name], options, keep)
            return self.near[name]
        sources = sorted(self.rng.choice(list(options), size=keep, replace=False))
        return tuple(f"{options[int(s)][self.rng.integers(len(options[int(s)]))]}@{s}" for s in sources)


def check_value(name: str, answer: Answer, options: Sequence[Value]) -> None:
    """Raises ValueError unless `answer` is one of `options`."""
    if answer not in options:
        raise ValueError(f"the architecture says {name} = {answer!r}, but the space offers {list(options)}")


def check_edges(name: str, answer: Answer, options: Mapping[int, Sequence[str]], keep: int) -> None:
    """Raises ValueError unless `answer` names `keep` different inputs, each with an operation offered on it."""
    if not isinstance(answer, tuple) or len(answer) != keep:
        raise ValueError(f"{name} must be {keep} of 'operation@input', not {answer!r}")
    try:
        chosen = {source: op for op, source in map(parse_edge, answer)}
        valid = len(chosen) == keep and all(op in options[source] for source, op in chosen.items())
    except (KeyError, ValueError, AttributeError):
        valid = False
    if not valid:
        offered = {source: list(ops) for source, ops in options.items()}
        raise ValueError(f"{name} = {list(answer)} must name {keep} different inputs with an operation of {offered}")


def by_input(edges: Sequence[str]) -> tuple[str, ...]:
    """The edges in the order of their inputs; whatever is no edge comes first, for `check_edges` to name."""
    sources = {edge: str(edge).rpartition("@")[2] for edge in edges}
    return tuple(sorted(edges, key=lambda edge: int(sources[edge]) if sources[edge].isdecimal() else -1))


def all_edges(options: Mapping[int, Sequence[str]], keep: int) -> list[tuple[str, ...]]:
    """Every answer that `edges` allows, in a fixed order."""
    return [
        tuple(f"{op}@{source}" for op, source in zip(ops, sources, strict=True))
        for sources in combinations(options, keep)
        for ops in product(*(options[source] for source in sources))
    ]


def _listed(names: Sequence[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


class SearchSpace(ABC):
    """A family of networks: a frozen dataclass of its constants, and one method."""

    @property
    def title(self) -> str:
        """What it is, for tables and reports."""
        return type(self).__name__

    @abstractmethod
    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        """The network that `pick`'s answers make, for images of `c_in` channels. It has `.out_channels`."""

    def student(self, architecture: Architecture | None = None, c_in: int = 3) -> nn.Module:
        """An ordinary network: no mixed operation, no alpha, no dead branch. No architecture: the published one.

        Raises ValueError when the architecture leaves a question open, or decides one that is not asked.
        """
        pick = Fixed(architecture)
        net = self.build(pick, c_in)
        pick.close()
        return net

    def supernet(self, architecture: Architecture | None = None, c_in: int = 3, folded: bool = True) -> nn.Module:
        """The DARTS supernet: every candidate, softmax-weighted; what `architecture` decides is built as decided."""
        from search_spaces.relaxed import Relaxed, Supernet

        pick = Relaxed(architecture, folded)
        net = self.build(pick, c_in)
        pick.fixed.close()
        return Supernet(net, pick, type(self).__name__)

    def sample(self, rng: np.random.Generator, near: Architecture | None = None) -> Architecture:
        """An architecture by chance that keeps what `near` decides."""
        return self._answers(Sampled(rng, near))

    def published(self) -> Architecture:
        """The first answer to every question: what `student()` builds."""
        return self._answers(Fixed())

    def check(self, architecture: Architecture) -> None:
        """Raises ValueError unless this space can build `architecture`; allocates nothing."""
        with torch.device("meta"):
            self.student(architecture)

    def _answers(self, pick: Discrete) -> Architecture:
        with torch.device("meta"):
            self.build(pick)
        return Architecture(type(self).__name__, dict(pick.answers))
