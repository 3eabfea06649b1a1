"""Every dataclass that can stand in a recipe or says what a command takes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from itertools import filterfalse

import nas.cli
import nas.data
import nas.stages
from nas.recipe import Recipe, import_classes
from search_spaces.ranges import Ranged, field_hints

OURS = ("nas.", "search_spaces.", "students.", "teachers.", "runs.")


def with_subclasses(cls):
    return {cls, *(deeper for each in cls.__subclasses__() for deeper in with_subclasses(each))}


def parts_of(hint):
    """An annotation and all that it is made of."""
    return [hint, *(deeper for part in typing.get_args(hint) for deeper in parts_of(part))]


def held_by(cls):
    """The dataclasses that the fields of a dataclass can hold."""
    kinds = {part for hint in field_hints(cls).values() for part in parts_of(hint) if inspect.isclass(part)}
    return {each for kind in kinds - {object} for each in with_subclasses(kind) if dataclasses.is_dataclass(each)}


def configurations():
    """What can stand in a recipe, and the options of every command."""
    import_classes()
    for package in (nas.cli, nas.stages, nas.data):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found, new = set(), {Recipe, *filter(dataclasses.is_dataclass, with_subclasses(Ranged))}
    while new:
        found |= new
        new = {each for cls in new for each in held_by(cls)} - found
    own = [cls for cls in found if cls.__module__.startswith(OURS)]
    return sorted(filterfalse(inspect.isabstract, own), key=lambda cls: (cls.__module__, cls.__name__))
