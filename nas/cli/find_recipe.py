"""Finding recipes: the toolkit's own by name, a user's by `file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from nas.errors import near_misses
from nas.recipe import Recipe

PACKAGE = "runs.recipes"


def recipes() -> dict[str, Callable[[], Recipe]]:
    """The toolkit's recipes by name."""
    package = importlib.import_module(PACKAGE)
    modules = [importlib.import_module(f"{PACKAGE}.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    return {name: function for module in modules for name, function in _recipes_of(module).items()}


def recipe_named(name: str) -> tuple[str, Recipe]:
    """A recipe and its short name, for a name or a `path/to/file.py:function`.

    Raises ValueError with near misses for an unknown name, and saying what a file lacks.
    """
    if ".py" in name:
        path, _, function = name.partition(":")
        known = _recipes_of(_module(Path(path)))
        where = path
    else:
        known, function, where = recipes(), name, "the toolkit"
    if function not in known:
        raise ValueError(
            f"{where} has no recipe {function!r}{near_misses(function, known)}; `nas recipes` lists the "
            "toolkit's. A recipe is a function without arguments that returns a nas.recipe.Recipe; "
            f"found: {', '.join(sorted(known)) or 'none'}"
        )
    recipe = known[function]()
    if not isinstance(recipe, Recipe):
        raise ValueError(f"the recipe {name!r} must return a nas.recipe.Recipe, not {type(recipe).__name__}")
    return function, recipe


def _recipes_of(module: ModuleType) -> dict[str, Callable[[], Recipe]]:
    """The public functions of a module that can be called without arguments and say that they return a Recipe."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and inspect.signature(function).return_annotation in (Recipe, "Recipe")
        and not inspect.signature(function).parameters
    }


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"the recipe file {path} does not exist")
    name = f"recipe file {path.stem}"  # no import can ask for it, so that a random.py replaces nothing
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
