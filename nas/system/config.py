"""Configurations as JSON and back: frozen dataclasses, each written with its class's name as `kind`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from nas.errors import PLUGIN, near_misses
from nas.system.version1 import with_version1_names
from search_spaces.ranges import placed

WITHOUT_EFFECT = {"effect": False}
"""Metadata of a field that changes how something is computed, and not what comes out."""

OF_TEST = {"of_test": True}
"""Metadata of a field that decides what is measured on, and nothing of what is trained."""


Wanted = Callable[[dataclasses.Field, Any], bool]
"""Whether a field with a value is to be written."""


def encode(value: object) -> Any:
    """Plain data for `value`: a dataclass of numbers, texts, paths, tuples and dataclasses."""
    return _encoded(value, str, lambda field, value: True)


def _encoded(value: object, path: Callable[[Path], str], wanted: Wanted) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: _encoded(getattr(value, f.name), path, wanted)
            for f in dataclasses.fields(value)
            if wanted(f, getattr(value, f.name))
        }
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, Path):
        return path(value)
    if isinstance(value, tuple | list):
        return [_encoded(item, path, wanted) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a configuration holds numbers, texts, paths, tuples and dataclasses, not {type(value).__name__}")


def decode(data: Any, annotation: Any, where: str = "config") -> Any:
    """What `encode` wrote, as `annotation` says it must be. Raises ValueError naming the place that does not fit.

    Only classes already imported can come out: a stranger's file chooses among them, and runs nothing.
    """
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if is_union else (annotation,)
    if data is None and type(None) in options:
        return None
    if isinstance(data, Mapping) and "kind" in data:
        return _decode_dataclass(data, options, where)
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(data, list):
            item, *rest = typing.get_args(option)
            items = [item] * len(data) if rest == [...] else [item, *rest]
            if len(data) != len(items):
                continue
            return tuple(decode(value, kind, where) for value, kind in zip(data, items, strict=True))
        if origin is typing.Literal and data in typing.get_args(option):
            return data
        if option is Path and isinstance(data, str) and data:
            return Path(data)
        if option is float and isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
        if isinstance(option, type) and type(data) is option:
            return data
    raise ValueError(f"{where} must be {annotation}, not {data!r}")


def _decode_dataclass(data: Mapping, options: tuple, where: str) -> Any:
    known = {cls.__name__: cls for option in options if isinstance(option, type) for cls in _with_subclasses(option)}
    if not isinstance(data["kind"], str):
        raise ValueError(f"{where}: kind must be the name of a class, not {data['kind']!r}")
    cls = known.get(data["kind"])
    if cls is None or not dataclasses.is_dataclass(cls):
        raise ValueError(
            f"{where} is a {data['kind']!r}, which is not known here{near_misses(data['kind'], known)}; "
            f"a class of your own is known when the command names its file: {PLUGIN} FILE"
        )
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    unknown = set(data) - names - {"kind"}
    if unknown:
        raise ValueError(f"{where}: {cls.__name__} has no field {sorted(unknown)}; it has {sorted(names)}")
    required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in data]:
        raise ValueError(f"{where}: {cls.__name__} must have {', '.join(missing)}; it has {', '.join(data)}")
    fields = {name: decode(data[name], hints[name], f"{where}.{name}") for name in names if name in data}
    with placed(where):
        return cls(**fields)


def _with_subclasses(cls: type[Any]) -> Iterator[type]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


def portable(value: object) -> Any:
    """`encode` without the folders that paths stand in and without fields that have no effect: the same on a machine
    that keeps its data elsewhere and has another amount of memory."""
    return _encoded(value, lambda path: path.name, _decides)


def _decides(field: dataclasses.Field, value: Any) -> bool:
    """Whether a field has an effect that a run of version 1 would not have had without it."""
    return field.metadata.get("effect", True) and not (field.metadata.get("added", False) and value == field.default)


def training_key(*values: object) -> str:
    """A text that is the same for configurations that train the same: they differ in fields without effect, or of the
    test split, alone."""

    def is_trained_on(field: dataclasses.Field, value: Any) -> bool:
        return _decides(field, value) and not field.metadata.get("of_test", False)

    return json.dumps([_encoded(value, str, is_trained_on) for value in values], sort_keys=True)


def fingerprint(*values: object) -> str:
    """Sixteen hex digits that stand for configurations, wherever their files lie: the same ones as in version 1."""
    text = json.dumps([with_version1_names(portable(value)) for value in values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """The fields in which two encoded configurations differ, as `field: old, now new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("kind") == new.get("kind"):
        names = dict.fromkeys([*old, *new])
        return [
            line for name in names for line in differences(old.get(name), new.get(name), f"{where}.{name}".strip("."))
        ]
    return [] if old == new else [f"{where}: {_short(old)}, now {_short(new)}"]


def _short(value: Any) -> str:
    return str(value["kind"]) if isinstance(value, Mapping) and "kind" in value else repr(value)


T = TypeVar("T")


def apply_overrides(config: T, overrides: Mapping[str, Any]) -> T:
    """The dataclass `config` with encoded values at dotted fields. Raises ValueError for a field or value that it
    cannot have."""
    for path, data in overrides.items():
        config = _override(config, path.split("."), data, type(config).__name__.lower())
    return config


def _override(value: Any, path: Sequence[str], data: Any, where: str) -> Any:
    name, *rest = path
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    if name not in names:
        raise ValueError(
            f"{where} ({type(value).__name__}) has no field {name!r}{near_misses(name, names)}; it has "
            f"{', '.join(names) or 'none'}"
        )
    place = f"{where}.{name}"
    inner = (
        _override(getattr(value, name), rest, data, place)
        if rest
        else decode(data, typing.get_type_hints(type(value))[name], place)
    )
    with placed(where):
        return dataclasses.replace(value, **{name: inner})


def import_all(package: ModuleType) -> None:
    """Imports the modules that lie in `package` itself: `decode` finds the classes that they define."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.ispkg:
            importlib.import_module(module.name)
