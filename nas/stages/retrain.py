"""`nas retrain`: trains the found student from scratch, and a baseline beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nas.recipe import Recipe
from nas.run import Run
from nas.stages.teacher import run_teacher, teacher_path
from nas.stages.train_and_save import train_and_save
from nas.system.files import digest
from nas.training.build import build_network
from students.space import StudentSpace


def retrain(run: Run, overwrite: bool = False) -> None:
    """Trains the student into `student.safetensors` and, if the recipe has one, its baseline from the labels alone."""
    if not overwrite:
        run.check(*retrained_stages(run.recipe))
    architecture, recipe = run.architecture(), run.final_recipe()
    data = recipe.load()
    space = recipe.retrained.with_ids(len(data.identities))
    if architecture is not None:
        space.check(architecture)
    weights = teacher_path(run)
    settings = [] if recipe == run.recipe else [recipe.loss, recipe.retrain]
    stage = run.begin(
        "retrain",
        overwrite,
        len(data.identities),
        architecture.hash if architecture else None,
        digest(weights) if weights else None,
        *settings,
    )
    if stage is not None:
        network = build_network(space, architecture, data.identities, recipe.retrain, recipe.seed)
        train_and_save(run, stage, network, data, recipe.retrain, recipe.loss, run_teacher(run, data, stage))
    if recipe.baseline is not None:
        _train_baseline(run, overwrite, recipe.baseline.with_ids(len(data.identities)), data)


def retrained_stages(recipe: Recipe) -> list[str]:
    """The stages that `nas retrain` does."""
    return ["retrain"] if recipe.baseline is None else ["retrain", "baseline"]


def _train_baseline(run: Run, overwrite: bool, space: StudentSpace, data: Any) -> None:
    recipe = run.recipe
    stage = run.begin("baseline", overwrite, len(data.identities))
    if stage is not None:
        training = replace(recipe.retrain, pretrained="")
        network = build_network(space, None, data.identities, training, recipe.seed)
        train_and_save(run, stage, network, data, training, recipe.loss)
