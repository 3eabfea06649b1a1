"""What `nas reproduce` has to do for the rows of a table: which runs train, under which teacher, what is measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from nas.recipe import Recipe
from nas.run import DECIDES, RESULTS, decided
from nas.study.published import Published
from nas.system.config import fingerprint, training_key
from nas.system.run_config import read_config

TRAINED = tuple(field.name for field in fields(Recipe) if field.name not in ("evaluation", "machine"))
"""The fields of a recipe that what it trains depends on."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run in a folder of the table's, and the recipe that it trains."""

    name: str
    folder: str
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Step:
    """A row with one seed: where its networks are trained, under which teacher, and where they are measured."""

    row: Published
    recipe: Recipe
    name: str
    folder: str
    student: Training | None
    """None: the row is about its teacher."""
    teachers: tuple[Training, ...]
    """Several are joined. Empty: it has none, or one that was trained elsewhere."""
    found_in: Training | None = None
    """The run whose search and pretraining the student starts from; None: it starts by itself."""


def plan(rows: Sequence[Published], folder: Path, num_seeds: int = 1) -> list[Step]:
    """The rows seed by seed. What differs in the test images alone is trained once, and measured as often as asked.

    A teacher is trained once, with the first seed, for the students of all seeds; a row about a teacher has one of each
    seed. What an earlier call has begun otherwise in `folder` goes on as it is. Raises ValueError for no seeds.
    """
    if num_seeds < 1:
        raise ValueError(f"seeds must be at least 1, not {num_seeds}")
    return [_step(row, rows, number, folder) for number in range(num_seeds) for row in rows]


def _step(row: Published, rows: Sequence[Published], number: int, folder: Path) -> Step:
    own = _training(row, rows, number)
    alike = [own, *(_training(each, rows, number) for each in rows if _is_trained_alike(each, row))]
    begun = [training for training in alike if _has_begun(folder / training.folder)]
    student = None if row.role == "teacher" else [*begun, *alike[1:]][0]
    teachers = tuple(
        teacher
        for recipe in row.members or ((student or own).recipe,)
        if (teacher := _teacher(recipe, student or own, row, rows, folder))
    )
    return Step(
        row=row,
        recipe=own.recipe,
        name=own.name,
        folder=own.folder,
        student=student,
        teachers=teachers,
        found_in=_found_in(row) if student else None,
    )


def _training(row: Published, rows: Sequence[Published], number: int) -> Training:
    """The run of the row's own; equal rows share one, that of the first."""
    first = next(each for each in rows if each.is_same_run(row))
    name, recipe = folder_name(first.name), replace(row.recipe, seed=row.recipe.seed + number)
    return Training(name=name, folder=f"{name}-seed{recipe.seed}", recipe=recipe)


def _is_trained_alike(one: Published, other: Published) -> bool:
    """Whether two rows about students differ in nothing that is trained."""
    alike = (one.role, one.members, one.found_by) == (other.role, other.members, other.found_by)
    return alike and _key(one.recipe, TRAINED) == _key(other.recipe, TRAINED)


def _found_in(row: Published) -> Training | None:
    """Of the first seed, for students of all seeds and rows: an architecture is found and pretrained once."""
    recipe = row.found_by
    if recipe is None or not (needs_search(recipe) or needs_pretraining(row)):
        return None
    names = dict.fromkeys([*DECIDES["teach"], *DECIDES["search"], *DECIDES["pretrain"], "architecture"])
    key = fingerprint(_key(recipe, tuple(names)))[:8]
    return Training(name="found", folder=f"found-{key}", recipe=recipe)


def needs_search(recipe: Recipe) -> bool:
    return recipe.strategy is not None and recipe.architecture is None


def needs_pretraining(row: Published) -> bool:
    return row.found_by is not None and row.recipe.retrain.pretrained == "imagenet"


def found_teacher(found_in: Training) -> Training | None:
    """The teacher of a run that searches: where rows listen to the same one, theirs."""
    recipe = found_in.recipe
    if not needs_search(recipe) or recipe.teacher is None or recipe.teacher.weights is not None:
        return None
    return Training(name="teacher", folder=_teacher_folder(recipe), recipe=recipe)


@cache
def _key(recipe: Recipe, names: tuple[str, ...]) -> str:
    return training_key(*(getattr(recipe, name) for name in names))


def _teacher(
    recipe: Recipe, training: Training, row: Published, rows: Sequence[Published], folder: Path
) -> Training | None:
    """That of `recipe` with the first seed, for a row about the teacher with that of its own. Of rows that share one
    the first names it, or the first whose teacher is there already. A run that an earlier version began under a teacher
    of its own, of the same seed and test images, keeps it."""
    if recipe.teacher is None or recipe.teacher.weights is not None:
        return None
    own = _teacher_folder(recipe)
    if row.role != "teacher" and _held_teacher(folder / training.folder) == own:
        return Training(name="teacher", folder=own, recipe=recipe)
    seed = recipe.seed if row.role == "teacher" else row.recipe.seed
    key = _key(replace(recipe, seed=seed), DECIDES["teach"])
    of_seed = [replace(each, seed=seed) for other in rows for each in other.members or (other.recipe,)]
    alike = {_teacher_folder(recipe): recipe for recipe in of_seed if _key(recipe, DECIDES["teach"]) == key}
    chosen = next((name for name in alike if (folder / name).exists()), next(iter(alike)))
    return Training(name="teacher", folder=chosen, recipe=alike[chosen])


def _teacher_folder(recipe: Recipe) -> str:
    return f"teacher-{decided(recipe, 'teach')[:8]}"


def _held_teacher(folder: Path) -> str:
    """The folder of the teacher that the run in `folder` was begun under; empty where there is none."""
    if not _has_begun(folder):
        return ""
    teacher: Mapping[str, Any] = read_config(folder)["config"].get("teacher") or {}
    return Path(teacher.get("weights") or "").parent.name


def _has_begun(folder: Path) -> bool:
    """Whether a network of a student is trained here, or has been."""
    return any(
        (folder / name).exists() for name in (RESULTS["search"], RESULTS["retrain"], "search.ckpt", "retrain.ckpt")
    )


def folder_name(name: str) -> str:
    """Of the runs of a row."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", " plus ")).strip("-")
