"""`nas retrain`: trains the found student from scratch, and a baseline beside it."""

from __future__ import annotations

from typing import Any

from nas.run import Run
from nas.stages.again import Overwrite, started
from nas.stages.teacher import run_teacher, teacher_path
from nas.stages.train_and_save import train_and_save
from nas.system.files import digest
from nas.training.build import build_network
from students.space import StudentSpace


def retrain(run: Run, overwrite: Overwrite = False) -> None:
    """Trains the student into `student.safetensors` and, if the recipe has one, its baseline from the labels alone."""
    with started(run, run.stages("retrain"), overwrite) as run:
        _retrain(run)


def _retrain(run: Run) -> None:
    architecture, recipe = run.architecture(), run.final_recipe()
    data = recipe.load()
    space = recipe.retrained.with_ids(len(data.identities))
    weights = teacher_path(run)
    settings = [] if recipe == run.recipe else [recipe.loss, recipe.retrain]
    stage = run.begin(
        "retrain",
        len(data.identities),
        architecture.hash if architecture else None,
        digest(weights) if weights else None,
        *settings,
    )
    if stage is not None:
        network = build_network(space, architecture, data.identities, recipe.retrain, recipe.seed)
        train_and_save(run, stage, network, data, recipe.retrain, recipe.loss, run_teacher(run, data, stage))
    if recipe.baseline is not None:
        _train_baseline(run, recipe.baseline.with_ids(len(data.identities)), data)


def _train_baseline(run: Run, space: StudentSpace, data: Any) -> None:
    recipe = run.recipe
    stage = run.begin("baseline", len(data.identities))
    if stage is not None:
        training = recipe.baseline_training
        network = build_network(space, None, data.identities, training, recipe.seed)
        train_and_save(run, stage, network, data, training, recipe.loss)
