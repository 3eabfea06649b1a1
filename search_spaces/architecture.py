"""What a search decided, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeVar

Value = str | int | float | bool

V = TypeVar("V", bound=Value)

Answer = Value | tuple[str, ...]

FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """What a search decided: plain data, readable by later versions."""

    space: str
    """Family of networks that the decisions belong to."""
    decisions: Mapping[str, Answer]
    """Answer to each question, by its name: a value, an operation's key, or for a node with several inputs a tuple of
    `"operation@input"` in the order of the inputs."""

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


def parse_edge(text: str) -> tuple[str, int]:
    """`"sep3@0"` -> `("sep3", 0)`."""
    op, _, source = text.rpartition("@")
    return op, int(source)


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
