"""Command lines read by tyro. What a field cannot be is one line that names its flag, as for any other error."""

from __future__ import annotations

import dataclasses
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from nas.errors import first_line
from search_spaces.ranges import WORDS, OutOfRange, in_words, placed

ALL = "--help-all"
"""Asks for the whole help, also where a command has a short one."""
OPTIONS = "options"
"""The field whose own fields are flags without its name in front."""
EDGES = re.compile(r"^[│|] ?| ?[│|]\s*$")
RULE = re.compile(r"[─-]*")
DESCRIPTION = re.compile(r" {8}")
HELP = re.compile(r"\s*For full helptext, run (.*?) --help")
"""How tyro's boxes are drawn, describe a flag that they propose, and end."""
READERS: dict[type, Callable[[str], Any]] = {int: int, float: float, Path: Path}


def parse(kind: Any, arguments: Sequence[str], **how: Any) -> Any:
    """`tyro.cli`, with `how` it reads. Raises OutOfRange with the flag of a value that cannot be read, or that its
    field cannot have, and ValueError with the part's where several fields do not fit each other."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            words = ["--help" if word == ALL else word for word in arguments]
            return tyro.cli(kind, args=words, registry=_registry(), **how)
    except SystemExit as stop:
        _raise_refusal(stop)
        if stop.code:
            raise ValueError(in_one_line(said.getvalue())) from None
        print(said.getvalue(), end="", file=sys.stderr)
        raise


def in_one_line(box: str) -> str:
    """What tyro says in a box of several lines; of flags only the names."""
    lines = [EDGES.sub("", line) for line in box.splitlines()[1:-1]]
    text = " ".join(line.strip() for line in lines if not RULE.fullmatch(line.strip()) and not DESCRIPTION.match(line))
    return HELP.sub(r"; `\1 --help` lists what there is", text).replace(".; ", "; ")


@contextmanager
def by_flag(place: str = "") -> Iterator[None]:
    """Calls the field that is out of its range by its flag; the object stands at `place` of the command line."""
    try:
        with placed(place):
            yield
    except OutOfRange as error:
        raise OutOfRange(flag(error.place), error.must, error.value) from None


def flag(place: str) -> str:
    """`--search.num-ids` for `options.search.num_ids`."""
    return "--" + place.removeprefix(OPTIONS).removeprefix(".").replace("_", "-")


def _raise_refusal(stop: SystemExit) -> None:
    """Raises what made tyro stop, if it was a value. Of tyro's own error around it only `arg` is read, as it says where
    the value stands: the argument, or the dotted name of the object that refused its fields."""
    error = stop.__context__
    where: Any = ""
    if error and hasattr(error, "arg"):
        where, error = error.arg, error.__context__
    if not isinstance(error, ValueError):
        return
    if not isinstance(where, str):
        where = where.lowered.name_or_flags[0]
        raise (
            OutOfRange(where, error.must, error.value)
            if isinstance(error, OutOfRange)
            else ValueError(f"{where}: {first_line(error)}")
        )
    with by_flag(where):
        raise error if isinstance(error, OutOfRange) or not where else ValueError(f"{flag(where)}: {error}")


def _registry() -> ConstructorRegistry:
    registry = ConstructorRegistry()
    registry.primitive_rule(_number_or_path)
    registry.struct_rule(_with_ranges())
    return registry


def _with_ranges() -> Callable[[StructTypeInfo], StructConstructorSpec | None]:
    """How tyro takes dataclasses apart, with the ranges of their fields in the help."""
    asking = False

    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        return dataclasses.replace(spec, fields=tuple(map(_with_range, spec.fields)))

    return rule


def _with_range(field: StructFieldSpec) -> StructFieldSpec:
    field = dataclasses.replace(field, helptext=_unbroken(field.helptext))
    words = in_words(field.type)
    hint = tyro.conf.arg(help_behavior_hint=lambda default: f"({words}; default: {default})")
    with_hint: Any = Annotated[field.type, hint]
    return dataclasses.replace(field, type=with_hint) if words else field


def _unbroken(text: str | Callable[[], str | None] | None) -> Callable[[], str | None]:
    """A field's help without the line breaks of its docstring, which is read when the help is shown."""
    return lambda: " ".join(((text() if callable(text) else text) or "").split()) or None


def _number_or_path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How numbers and paths are read, or None where they may be left out: with our words for what is none."""
    options: Sequence[Any] = get_args(info.type) if info.type_origin in (Union, UnionType) else (info.type,)
    kinds = [get_args(option)[0] if get_origin(option) is Annotated else option for option in options]
    optional, kind = kinds[1:] == [type(None)], kinds[0]
    if kind not in READERS or (len(kinds) > 1 and not optional):
        return None

    def read(words: list[str]) -> Any:
        if optional and words[0] == "None":
            return None
        try:
            if words[0]:
                return READERS[kind](words[0])
        except ValueError:
            pass
        raise OutOfRange("", f"be {WORDS[kind]}{', or None' * optional}", words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|" * optional + ("PATH" if kind is Path else kind.__name__.upper()),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )
