"""What each field of a configuration may be. It is said once, in the field's annotation, and holds in every object."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}

MOST = 1_000_000

ADDED = {"added": True}
"""Metadata of a field that its class had not in version 1: at its default the class is what it was."""


class OutOfRange(ValueError):
    """A value that its field cannot have. `place` is the field's, by which the message calls it."""

    def __init__(self, place: str, must: str, value: object) -> None:
        super().__init__(place, must, value)
        self.place, self.must, self.value = place, must, value

    def __str__(self) -> str:
        return f"{self.place} must {self.must}, not {self.value!r}"

    @property
    def field(self) -> str:
        """The field's own name."""
        return self.place.rpartition(".")[2]

    def within(self, place: str) -> OutOfRange:
        """The same of the field in an object that stands at `place`."""
        return OutOfRange(f"{place}.{self.field}".strip("."), self.must, self.value)


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Calls a field that is out of its range by where its object stands: at `place`."""
    try:
        yield
    except OutOfRange as error:
        raise error.within(place) from None


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, or above `above` and below `below`."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __str__(self) -> str:
        """As help texts say it. A bound from a million on only keeps out what no machine holds, and is left out."""
        if self.least > -math.inf and self.most < MOST:
            return f"{self.least:,} to {self.most:,}"
        bounds = [f"at least {self.least:,}"] * (self.least > -math.inf) + [f"above {self.above:,}"] * (
            self.above > -math.inf
        )
        bounds += [f"at most {self.most:,}"] * (self.most < MOST) + [f"below {self.below:,}"] * (self.below < MOST)
        return " and ".join(bounds)

    def broken(self, value: float) -> str:
        """What must hold of `value` and does not; empty where all does."""
        if not math.isfinite(value):
            return "be a finite number"
        if value < self.least:
            return f"be at least {self.least:,}"
        if value > self.most:
            return f"be at most {self.most:,}"
        if value <= self.above:
            return f"be above {self.above:,}"
        return f"be below {self.below:,}" if value >= self.below else ""


@dataclass(frozen=True)
class NotEmpty:
    """Something, not nothing."""

    def __str__(self) -> str:
        return "not empty"

    def broken(self, value: typing.Sized) -> str:
        return "" if len(value) else "not be empty"


Count = Annotated[int, Range(least=1, most=MOST)]
CountOrZero = Annotated[int, Range(least=0, most=MOST)]
TwoOrMore = Annotated[int, Range(least=2, most=MOST)]
Layers = Annotated[int, Range(least=1, most=1_000)]
Channels = Annotated[int, Range(least=1, most=65_536)]
Pixels = Annotated[int, Range(least=16, most=8_192)]
"""Of an image's side. No network of ours has less than a pixel left of the least."""
Processes = Annotated[int, Range(least=1, most=1_024)]
"""Or threads."""
ProcessesOrZero = Annotated[int, Range(least=0, most=1_024)]
Seed = Annotated[int, Range(least=0, most=2**63 - 1)]
"""What torch and NumPy take."""
Identity = Annotated[int, Range(least=0, most=2**63 - 1)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
AboveOne = Annotated[float, Range(above=1)]
Share = Annotated[float, Range(least=0, most=1)]
OpenShare = Annotated[float, Range(above=0, below=1)]
ShareBelowOne = Annotated[float, Range(least=0, below=1)]
PositiveShare = Annotated[float, Range(above=0, most=1)]
Multiplier = Annotated[float, Range(above=0, most=64)]
"""Of a network's channels."""
Name = Annotated[str, NotEmpty()]


class Ranged:
    """A dataclass whose fields hold what their annotations say, whoever makes it: a recipe, a file or a flag.

    A subclass with a `__post_init__` of its own calls this one first, and raises `self.out_of_range` for what its
    fields must be to one another.
    """

    def __post_init__(self) -> None:
        """Raises OutOfRange, a ValueError, naming the first field that cannot have its value."""
        kind: Any = type(self)
        for name, hint in field_hints(kind).items():
            if must := broken(getattr(self, name), hint):
                raise self.out_of_range(name, must)

    def out_of_range(self, name: str, must: str) -> OutOfRange:
        """The error to raise because the field `name` must, say, "be below epochs (3)", and is not."""
        return OutOfRange(f"{type(self).__name__}.{name}", must, getattr(self, name))


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which raises OutOfRange for an argument that its annotation does not allow."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        hints = typing.get_type_hints(function, include_extras=True)
        for name, value in inspect.signature(function).bind(*args, **kwargs).arguments.items():
            if must := broken(value, hints[name]):
                raise OutOfRange(name, must, value)
        return function(*args, **kwargs)

    return call


@cache
def field_hints(cls: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass with their annotations, ranges included."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def broken(value: Any, hint: Any) -> str:
    """What must hold of `value` by the annotation `hint` and does not, such as "be at least 1"; empty where all does.

    Of objects only their class is looked at: they have seen to their own fields.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        conditions = [condition for condition in arguments[1:] if isinstance(condition, Range | NotEmpty)]
        return broken(value, arguments[0]) or next(filter(None, (each.broken(value) for each in conditions)), "")
    if origin in (typing.Union, types.UnionType):
        found = [broken(value, option) for option in arguments if option is not type(None)]
        optional = len(found) < len(arguments)
        return "" if not all(found) or (optional and value is None) else found[0] + ", or None" * optional
    if origin is Literal:
        known = any(type(value) is type(option) and value == option for option in arguments)
        return "" if known else f"be one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return _broken_items(value, arguments)
    if hint is float and type(value) is int:
        return ""
    if hint in WORDS and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        return f"be {WORDS[hint]}"
    if isinstance(hint, type) and issubclass(hint, Ranged) and not isinstance(value, hint):
        return f"be a {hint.__name__}"
    return ""


def in_words(hint: Any) -> str:
    """What an annotation says of values beside their type, such as "at least 1"; empty where it says nothing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        said = [str(condition) for condition in arguments[1:] if isinstance(condition, Range | NotEmpty)]
        return ", ".join(filter(None, [in_words(arguments[0]), *said]))
    if origin in (typing.Union, types.UnionType):
        return next(filter(None, map(in_words, arguments)), "")
    if origin is tuple:
        return f"each {item}" if (item := in_words(arguments[0])) else ""
    return ""


def _broken_items(items: object, hints: tuple[Any, ...]) -> str:
    if not isinstance(items, tuple | list):
        return "be a tuple"
    item, *rest = hints
    hints = (item,) * len(items) if rest == [...] else hints
    if len(items) != len(hints):
        return f"have {len(hints)} items"
    found = next(filter(None, map(broken, items, hints)), "")
    return found and f"each {found.removeprefix('each ')}"


RuntimeName = Literal["onnxruntime", "onnxruntime-cuda", "tensorrt", "openvino", "torch", "torch-compile"]
"""What times networks: ONNX Runtime on the CPU, or with CUDA or TensorRT; OpenVINO; PyTorch on the run's device."""
