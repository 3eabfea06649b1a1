"""The teacher of a run, as the stages that listen to it need it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data.batches import Batches
from nas.models.network import Network
from nas.models.teacher import load_teacher
from nas.recipe import Recipe
from nas.run import RESULTS, Run
from nas.system.config import fingerprint
from nas.system.files import digest
from nas.system.locks import locked
from nas.system.weights import load_weights, save_tensors
from nas.training.stage import Stage
from teachers.remembered import RememberedTeacher, answers_of
from teachers.teacher import BatchTeacher, Teacher

MOST_BYTES = 2**30
"""Of the answers of a teacher that are remembered."""


def run_teacher(run: Run, data: Any, stage: Stage) -> Teacher | None:
    """The recipe's teacher on the stage's device.

    Raises ValueError when it is missing or knows other identities, or when it does not say what a loss asks for.
    """
    path = teacher_path(run)
    if path is None:
        return None
    network = load_teacher(path, data.identities, data.name, run.recipe.data.task)
    if run.recipe.needs_rehearsal:
        rehearse(run.recipe, network, str(path))
    net = stage.prepare(network.net)
    return Teacher(net, stage.teacher_autocast, run.recipe.teacher_maps, stage.side_stream())


def remembering(
    run: Run, teacher: Teacher | None, asked: Sequence[tuple[Any, int]], stage: Stage
) -> BatchTeacher | None:
    """The teacher with its answers to all views of all images, where that saves forward passes, or where an earlier
    stage has left them beside the teacher's weights; otherwise the teacher as it is.

    asked: batches, with the number of epochs in which it is asked about them. On a CPU answers are the same to the
    bit, as they are asked for in blocks of a batch's size. A loss that needs maps, and several processes, do without.
    """
    batches, num_asked = asked[0][0], sum(epochs * len(each) for each, epochs in asked)
    can = not run.recipe.teacher_maps and stage.fabric.world_size == 1 and isinstance(batches, Batches)
    path = teacher_path(run) if teacher is not None and can else None
    if teacher is None or path is None or not num_asked or batches.num_views is None:
        return teacher
    size, num_views = batches.sampling.batch_size, batches.num_views
    recipe = run.recipe
    precision = recipe.machine.teacher_precision_on(stage.fabric.device)
    key = fingerprint(digest(path), recipe.data, recipe.images, size, precision)
    kept = kept_beside(path, run.folder) / f"answers-{key}.safetensors"
    if num_asked * size < num_views and not kept.exists():
        return teacher
    example = teacher(next(batches.views())[1])
    num_bytes = 4 * num_views * sum(said.shape[1:].numel() for said in example if isinstance(said, Tensor))
    if num_bytes > MOST_BYTES:
        return teacher
    with locked(Path(f"{kept}.lock")):
        if not kept.exists():
            with stage.timed(f"the teacher's answers to {num_views} views ({num_bytes / 2**20:.0f} MB of memory)"):
                save_tensors(kept, answers_of(teacher, batches.views(), num_views), {})
    return RememberedTeacher(teacher, type(example), load_weights(kept)[0])


def kept_beside(path: Path, folder: Path) -> Path:
    """The folder of `path`, if one can write there, else `folder`."""
    return path.parent if os.access(path.parent, os.W_OK) else folder


def rehearse(recipe: Recipe, network: Network, what: str) -> None:
    """One step of the recipe's losses on the meta device, where nothing is computed, under the teacher `network`.

    Raises ValueError for a map that does not exist or fit, for an embedding that is not there, and naming the teacher
    by `what` for whatever else its task finds wrong with it, before any work.
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
