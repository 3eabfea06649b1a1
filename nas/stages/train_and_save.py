"""What the stages that train one network share."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from nas.data.base import ReIDData
from nas.losses.base import Loss
from nas.models.network import Network
from nas.recipe import Recipe
from nas.run import RESULTS, Run
from nas.tasks.reid.features import extract
from nas.tasks.reid.feed import batches_of, cached
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from teachers.teacher import Teacher


def train_and_save(
    run: Run,
    stage: Stage,
    network: Network,
    data: ReIDData,
    training: Training,
    loss: Loss,
    teacher: Teacher | None = None,
) -> None:
    """Trains the network to the end of the stage and saves what is left of it at inference as the stage's result."""
    recipe = run.recipe
    cache = cached(data.train, recipe.images)
    batches = batches_of(data, cache, training.sampling, training.augment, recipe.seed, stage)
    validate = _validation(data, recipe, stage) if training.validate_every else None
    train(network.net, batches, loss, training, stage, teacher, validate)
    _save(run, stage, network.inference())


def _save(run: Run, stage: Stage, network: Network) -> None:
    if stage.fabric.is_global_zero:
        network.save(run.folder / RESULTS[stage.name])
        run.end(stage)
    stage.fabric.barrier()


def _validation(data: ReIDData, recipe: Recipe, stage: Stage) -> Callable[[nn.Module], float]:
    query, gallery = cached(data.query, recipe.images), cached(data.gallery, recipe.images)
    return lambda net: extract(net, query, gallery, stage, recipe.evaluation).evaluate(recipe.evaluation).mAP
