"""`nas retrain`: trains the found student from scratch, and beside it what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.recipe import Recipe
from nas.run import Run
from nas.stages.again import Overwrite, started
from nas.stages.random_cell import random_cell
from nas.stages.teacher import run_teacher, teacher_path
from nas.stages.train_and_save import train_and_save
from nas.system.files import digest
from nas.training.build import build_network
from nas.training.settings import Training
from search_spaces.architecture import Architecture
from students.space import StudentSpace


@dataclass(frozen=True)
class Trained:
    """A network that the stage trains."""

    space: StudentSpace
    architecture: Architecture | None
    training: Training
    hears_teacher: bool


def retrain(run: Run, overwrite: Overwrite = False) -> None:
    """Trains the student into `student.safetensors` and, if the recipe has one, its baseline from the labels alone; and
    the recipe's controls."""
    with started(run, run.stages("retrain"), overwrite) as run:
        _retrain(run)


def _retrain(run: Run) -> None:
    architecture, recipe = run.architecture(), run.final_recipe()
    data = recipe.load()
    _train(run, "retrain", Trained(recipe.retrained, architecture, recipe.retrain, True), recipe, data)
    if recipe.baseline is not None:
        baseline = Trained(recipe.baseline, None, recipe.baseline_training, False)
        _train(run, "baseline", baseline, run.recipe, data)
    if "random-cell" in recipe.controls:
        assert architecture is not None
        cell = random_cell(run, architecture)
        _train(run, "random-cell", Trained(recipe.retrained, cell, recipe.retrain, True), recipe, data)
    if recipe.baseline is not None and "taught-baseline" in recipe.controls:
        _train(run, "taught-baseline", Trained(recipe.baseline, None, recipe.retrain, True), recipe, data)


def _train(run: Run, name: str, trained: Trained, recipe: Recipe, data: Any) -> None:
    """`recipe`: the run's, or what a joint search has made of it."""
    decides: list[Any] = [len(data.identities)]
    if trained.hears_teacher:
        weights = teacher_path(run)
        decides += [trained.architecture.hash if trained.architecture else None, digest(weights) if weights else None]
    if recipe != run.recipe:
        decides += [recipe.student_loss, recipe.retrain]
    stage = run.begin(name, *decides)
    if stage is not None:
        space, training = trained.space.with_ids(len(data.identities)), trained.training
        network = build_network(space, trained.architecture, data.identities, training, recipe.seed)
        teacher = run_teacher(run, data, stage) if trained.hears_teacher else None
        train_and_save(run, stage, network, data, training, recipe.student_loss, teacher)
