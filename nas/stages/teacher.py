"""The teacher of a run, as the stages that listen to it need it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
    network = load_teacher(path, data.identities, data.name)
    if maps := asked_maps(run.recipe):
        rehearse(run.recipe, network.net, len(network.identities), maps)
    return Teacher(stage.prepare(network.net), stage.teacher_autocast, maps)


def asked_maps(recipe: Recipe) -> tuple[str, ...]:
    """The teacher's maps that the recipe's losses ask for."""
    losses = [loss for loss in (recipe.loss, recipe.search.alpha_loss) if loss]
    return tuple(dict.fromkeys(name for loss in losses for name in loss.teacher_maps))


def rehearse(recipe: Recipe, teacher_net: nn.Module, num_ids: int, maps: tuple[str, ...]) -> None:
    """One step of the recipe's losses on the meta device, where nothing is computed.

    Raises ValueError for a map that does not exist or fit, before any work.
    """
    searched = [(recipe.space, loss) for loss in (recipe.loss, recipe.search.alpha_loss) if loss and recipe.strategy]
    with torch.device("meta"):
        batch = recipe.task.example(recipe, num_ids)
        teacher = Teacher(copy.deepcopy(teacher_net).to("meta"), nullcontext, maps)
        batch = batch._replace(teacher=teacher(batch.images))
        for space, loss in [*searched, (recipe.retrained, recipe.loss)]:
            loss(space.with_ids(num_ids).student()(batch.images), batch, loss.temperature.at(0, 1))


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
