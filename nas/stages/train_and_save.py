"""What the stages that train one network share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nas.losses.base import Loss
from nas.models.network import Network
from nas.run import RESULTS, Run
from nas.stages.teacher import remembering
from nas.tasks.base import Retrieves, image_size
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from teachers.teacher import Teacher


def train_and_save(
    run: Run,
    stage: Stage,
    network: Network,
    data: Any,
    training: Training,
    loss: Loss,
    teacher: Teacher | None = None,
) -> None:
    """Trains the network to the end of the stage and saves what is left of it at inference as the stage's result."""
    recipe, task = run.recipe, run.recipe.task
    batches = task.batches(data, task.train_part(data, recipe), training, recipe.seed, stage)
    heard = remembering(run, teacher, [(batches, loss.num_listened(training.epochs))], stage)
    watched: Any = task.test_part(data, recipe) if training.validate_every else None

    def validate(net: Any) -> dict[str, float]:
        assert watched
        if isinstance(task, Retrieves):
            found = task.retrieve(net, watched, recipe, stage, "")
            return {"mAP": found.mAP, "rank1": found.rank1}
        return {"mAP": task.value(net, watched, recipe, stage)}

    with stage.working():
        train(network.net, batches, loss, training, stage, heard, validate if watched else None)
        save_result(run, stage, network.inference())


def save_result(run: Run, stage: Stage, network: Network) -> None:
    """Saves what the stage ends with; of several processes the first does, and all wait for it."""
    if stage.fabric.is_global_zero:
        recipe = run.recipe
        size = image_size(recipe.task, recipe)
        is_euclidean = getattr(recipe.evaluation, "distance", "") == "euclidean"
        card = network.card_for(*size, "euclidean" if is_euclidean else "cosine")
        replace(network, card=card).save(run.folder / RESULTS[stage.name])
        run.end(stage)
    stage.fabric.barrier()
