"""Tuned files: what a study changes of a recipe, as JSON that `nas run RECIPE --overrides FILE` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.recipe import Recipe
from nas.system.config import apply_overrides
from nas.system.files import read_json, write_json
from search_spaces.architecture import Architecture

FORMAT = 1


def write_overrides(path: Path, changes: Mapping[str, Any], architecture: Architecture | None, **found: object) -> Path:
    """Writes `changes` (fields such as `loss.alpha`, with `nas.system.config.encode`d values) and what was `found`.

    With an architecture the file is an architecture file, too: it needs no other beside it.
    """
    decided = architecture.to_dict() | {"hash": architecture.hash} if architecture else {}
    return write_json(path, {"format": FORMAT, **found, "changes": dict(changes), **decided})


def read_overrides(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with what a tuned file changes of it. Raises ValueError naming the file and field that do not fit."""
    data = read_json(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("changes"), Mapping):
        raise ValueError(
            f'{path} is no tuned file: it must hold {{"format": 1, "changes": {{FIELD: VALUE}}}}. `nas tune` writes one'
        )
    if data.get("format", FORMAT) != FORMAT:
        raise ValueError(f"{path} has format {data['format']!r}, this version reads {FORMAT}: update it")
    try:
        recipe = apply_overrides(recipe, data["changes"])
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{path} (of the recipe {data.get('recipe')!r}) does not fit this one: {error}") from None
    return replace(recipe, architecture=path) if "decisions" in data else recipe
