"""Finding recipes: the toolkit's own by name, a user's by `file.py:function`."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from importlib.machinery import FileFinder
from pathlib import Path
from pkgutil import iter_modules, resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeGuard, cast

import runs.recipes
from nas.errors import near_misses

if TYPE_CHECKING:
    from nas.recipe import Recipe


IN_FILE = re.compile(r"(.+\.py\w?)(?::([^:/]*))?", re.DOTALL)


class Listed(NamedTuple):
    """A recipe of the toolkit, as far as its source says."""

    module: str
    line: str
    """The first of its docstring."""


def recipes() -> dict[str, Listed]:
    """The toolkit's recipes by name, read from their source: none is imported."""
    found = {}
    for module in iter_modules(runs.recipes.__path__, f"{runs.recipes.__name__}."):
        source = Path(cast(FileFinder, module.module_finder).path) / f"{module.name.rpartition('.')[2]}.py"
        functions = filter(_is_recipe, ast.parse(source.read_text(encoding="utf-8")).body)
        for function in sorted(functions, key=lambda function: function.name):
            found[function.name] = Listed(module.name, (ast.get_docstring(function) or "").partition("\n")[0])
    return found


def _is_recipe(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Whether a module defines a public function there that has no parameters and says that it returns a Recipe."""
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or node.returns is None:
        return False
    returned = ast.unparse(node.returns).strip("'\"").rpartition(".")[2]
    return returned == "Recipe" and not ast.unparse(node.args)


def in_recipe_file(name: str) -> tuple[Path, str] | None:
    """The file and the function, if `name` is a `path/to/file.py:function`; the function may be missing."""
    match = IN_FILE.fullmatch(name)
    return (Path(match[1]), match[2] or "") if match else None


def recipe_named(name: str) -> tuple[str, Recipe]:
    """A recipe and its short name, for a name or a `path/to/file.py:function`.

    Raises ValueError with near misses for an unknown name, and saying what a file lacks.
    """
    from nas.recipe import Recipe
    from nas.system.plugins import load, load_packages

    load_packages()
    if place := in_recipe_file(name):
        path, short = place
        functions = _recipes_of(load(path), Recipe)
        _check_known(short, functions, str(path))
        function = functions[short]
    else:
        short, listed = name, recipes()
        if short not in listed:
            what = "recipe, and no file or folder," if "/" in short else "recipe"
            raise ValueError(
                f"there is no {what} {short!r}{near_misses(short, listed)}; `nas recipes` lists the recipes, and "
                "path/to/file.py:function names one of your own"
            )
        function = resolve_name(f"{listed[short].module}:{short}")
    recipe = function()
    if not isinstance(recipe, Recipe):
        raise ValueError(f"the recipe {name!r} must return a nas.recipe.Recipe, not {type(recipe).__name__}")
    return short, recipe


def _check_known(function: str, known: Iterable[str], where: str) -> None:
    if function not in known:
        raise ValueError(
            f"{where} has no recipe {function!r}{near_misses(function, known)}: a recipe is a function without "
            f"arguments that is annotated `-> Recipe` (nas.recipe.Recipe); found: {', '.join(sorted(known)) or 'none'}"
        )


def _recipes_of(module: ModuleType, kind: type[Recipe]) -> dict[str, Callable[[], Recipe]]:
    """The public functions of a module that can be called without arguments and say that they return a Recipe."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and inspect.signature(function).return_annotation in (kind, "Recipe")
        and not inspect.signature(function).parameters
    }
