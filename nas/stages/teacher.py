"""The teacher of a run, as the stages that listen to it need it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from nas.models.network import Network
from nas.models.teacher import load_teacher
from nas.recipe import Recipe
from nas.run import RESULTS, Run
from nas.training.stage import Stage
from teachers.teacher import Teacher


def run_teacher(run: Run, data: Any, stage: Stage) -> Teacher | None:
    """The recipe's teacher on the stage's device.

    Raises ValueError when it is missing or knows other identities, or when its maps are not what a loss asks for.
    """
    path = teacher_path(run)
    if path is None:
        return None
    network = load_teacher(path, data.identities, data.name, run.recipe.data.task)
    if run.recipe.teacher_maps:
        rehearse(run.recipe, network, str(path))
    return Teacher(stage.prepare(network.net), stage.teacher_autocast, run.recipe.teacher_maps)


def rehearse(recipe: Recipe, network: Network, what: str) -> None:
    """One step of the recipe's losses on the meta device, where nothing is computed, under the teacher `network`.

    Raises ValueError for a map that does not exist or fit, and naming the teacher by `what` for whatever else its task
    finds wrong with it, before any work.
    """
    task, num_ids, maps = recipe.task, len(network.identities), recipe.teacher_maps
    losses = (recipe.loss, recipe.search.alpha_loss)
    trained = [(recipe.space, loss) for loss in losses if loss and recipe.strategy]
    trained += [(recipe.retrained, recipe.student_loss)]
    with torch.device("meta"):
        batch = task.example(recipe, num_ids)
        students = [(space.with_ids(num_ids).student(), loss) for space, loss in trained]
        for student, loss in students:
            task.check_teacher(network, what, student, loss.teacher_maps)
        teacher = Teacher(copy.deepcopy(network.net).to("meta"), nullcontext, maps)
        batch = batch._replace(teacher=teacher(batch.images))
        for student, loss in students:
            loss(student(batch.images), batch, loss.temperature_at(0, 1) or 0.0)


def teacher_path(run: Run) -> Path | None:
    """Where the teacher's weights are; None when the recipe has no teacher."""
    if run.recipe.teacher is None:
        return None
    path = run.recipe.teacher.weights or run.folder / RESULTS["teach"]
    if not path.is_file():
        raise ValueError(
            f"the teacher's weights {path} do not exist: `nas teach {run.name} --out {run.folder}` trains "
            "them, --teacher.weights RUN/teacher.safetensors takes those of an earlier run"
        )
    return path
