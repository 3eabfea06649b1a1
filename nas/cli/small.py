"""Any recipe at a size for trying it: drawn images, an epoch or two of everything, the networks as they are."""

from __future__ import annotations

from dataclasses import replace

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced, Sampling, Shuffled, Switched
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.vehicleid import VehicleID
from nas.data.sets.vehicles import Vehicles
from nas.data.sets.veri776 import VeRi776
from nas.losses.base import Loss
from nas.losses.hints import HintLoss
from nas.losses.ksl import KSLLoss
from nas.losses.vrkd import BranchesLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.single_path import SinglePath
from nas.training.settings import Training

VEHICLES = (VehicleID, VeRi776, Vehicles)
EPOCHS = 2
TRIALS = 3


def small(recipe: Recipe) -> Recipe:
    """The recipe on drawn people or vehicles, with small images and batches and two epochs of each stage. It shows that
    everything runs; its result means nothing."""
    vehicles = isinstance(recipe.data, VEHICLES)
    height, width = (40, 40) if vehicles else (64, 32)
    drawn = (Vehicles if vehicles else Pedestrians)(
        num_train_ids=8, num_test_ids=4, num_cameras=2, images_per_id=6, height=height, width=width
    )
    how = recipe.search
    search = replace(
        how,
        sampling=_sampling(how.sampling),
        augment=_augment(how.augment),
        alpha_loss=how.alpha_loss and _loss(how.alpha_loss),
    )
    return replace(
        recipe,
        data=drawn,
        images=Images(height=height, width=width),
        strategy=_strategy(recipe.strategy),
        loss=_loss(recipe.loss),
        teacher=_teacher(recipe.teacher),
        search=search,
        retrain=_training(recipe.retrain),
    )


def _strategy(strategy: Strategy | None) -> Strategy | None:
    if isinstance(strategy, DARTS):
        return replace(strategy, epochs=EPOCHS, warmup_epochs=0)
    if isinstance(strategy, DiscreteSearch):
        return replace(strategy, epochs=EPOCHS, trials=TRIALS)
    if isinstance(strategy, SinglePath):
        return replace(strategy, epochs=EPOCHS, trials=TRIALS, recalibration=2)
    return strategy and replace(strategy, epochs=EPOCHS)


def _teacher(teacher: TeacherRecipe | None) -> TeacherRecipe | None:
    return teacher and replace(teacher, loss=_loss(teacher.loss), training=_training(teacher.training))


def _loss(loss: Loss) -> Loss:
    if isinstance(loss, BranchesLoss | HintLoss):
        return replace(loss, each=_loss(loss.each))
    return replace(loss, triplet_from=min(loss.triplet_from, 1)) if isinstance(loss, KSLLoss) else loss


def _training(training: Training) -> Training:
    return replace(
        training,
        epochs=EPOCHS,
        sampling=_sampling(training.sampling),
        augment=_augment(training.augment),
        pretrained="",
        validate_every=0,
    )


def _sampling(sampling: Sampling) -> Sampling:
    if isinstance(sampling, Shuffled):
        return Shuffled(batch_size=8)
    if isinstance(sampling, Switched):
        return Switched(first=_sampling(sampling.first), then=_sampling(sampling.then), at=min(sampling.at, 1))
    return ClassBalanced(num_ids=4, images_per_id=2, num_batches=2)


def _augment(augment: Augment) -> Augment:
    return replace(augment, crop_padding=4)
