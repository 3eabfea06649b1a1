"""Finding recipes: the toolkit's own by name, a user's by `file.py:function`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from pkgutil import iter_modules, resolve_name
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeGuard, cast

import runs.recipes
from nas.errors import first_line, near_misses

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

    if place := in_recipe_file(name):
        path, short = place
        functions = _recipes_of(_module(path), Recipe)
        _check_known(short, functions, str(path))
        function = functions[short]
    else:
        short, listed = name, recipes()
        _check_known(short, listed, "the toolkit")
        function = resolve_name(f"{listed[short].module}:{short}")
    recipe = function()
    if not isinstance(recipe, Recipe):
        raise ValueError(f"the recipe {name!r} must return a nas.recipe.Recipe, not {type(recipe).__name__}")
    return short, recipe


def _check_known(function: str, known: Iterable[str], where: str) -> None:
    if function not in known:
        raise ValueError(
            f"{where} has no recipe {function!r}{near_misses(function, known)}; `nas recipes` lists the "
            "toolkit's. A recipe is a function without arguments that returns a nas.recipe.Recipe; "
            f"found: {', '.join(sorted(known)) or 'none'}"
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


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"the recipe file {path} {'is no file' if path.exists() else 'does not exist'}")
    if path.suffix != ".py":
        raise ValueError(f"a recipe file must end in .py, not be {path}")
    name = f"recipe file {path.stem}"  # no import can ask for it, so that a random.py replaces nothing
    spec = cast(ModuleSpec, importlib.util.spec_from_file_location(name, path))
    loader = cast(SourceFileLoader, spec.loader)  # of all files that end as .py
    module = importlib.util.module_from_spec(spec)
    try:
        code = loader.get_code(name)
    except (OSError, SyntaxError) as error:
        if isinstance(error, SyntaxError) and error.filename:
            raise
        raise ValueError(f"the recipe file {path} cannot be read: {first_line(error)}") from error
    sys.modules[name] = module
    exec(cast(CodeType, code), module.__dict__)
    return module
