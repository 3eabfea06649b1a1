"""`nas teach`: trains the teacher, and listens to it later."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from nas.data.base import ReIDData
from nas.data.batches import Batch
from nas.losses.base import Loss
from nas.models.network import Network
from nas.models.pretrained import load_pretrained
from nas.recipe import Recipe
from nas.run import RESULTS, Run
from nas.system.files import digest
from nas.tasks.reid.features import extract
from nas.tasks.reid.feed import batches_of, cached
from nas.teacher_spaces import Ensemble
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.architecture import Architecture
from students.reid import ReIDSpace
from teachers.ensemble import EnsembleNet
from teachers.teacher import Teacher, check_identities


def teach(run: Run, overwrite: bool = False) -> None:
    """Trains the recipe's teacher into `teacher.safetensors`, or joins its members there.

    Goes on where a killed process stopped.
    """
    recipe = run.recipe
    if recipe.teacher is None:
        raise ValueError(f"the recipe {run.name!r} has no teacher")
    if recipe.teacher.weights is not None:
        raise ValueError(f"the recipe {run.name!r} takes its teacher from {recipe.teacher.weights}: nothing to teach")
    data = recipe.load()
    teacher = recipe.teacher
    space = teacher.net.with_ids(len(data.identities))
    if not teacher.members and (maps := _maps(recipe)):
        with torch.device("meta"):
            _rehearse(recipe, space.student(), len(data.identities), maps)
    stage = run.begin("teach", overwrite, *(digest(_existing(path)) for path in teacher.members))
    if stage is None:
        return
    if teacher.members:
        _save(run, stage, joined(teacher.members, data))
        return
    network = started(space, None, data, teacher.training, recipe.seed)
    finish(run, stage, network, data, teacher.training, teacher.loss)


def joined(paths: Sequence[Path], data: ReIDData) -> Network:
    """The networks in `paths` as one. Raises ValueError naming the file that knows other identities than `data`."""
    networks = [Network.load(path) for path in paths]
    for path, network in zip(paths, networks, strict=True):
        check_identities(str(path), network.identities, data.identities, data.name)
    space = Ensemble(members=tuple(network.space for network in networks))
    decisions = {
        f"{place}.{name}": answer
        for place, network in enumerate(networks)
        for name, answer in (network.architecture or network.space.published()).decisions.items()
    }
    net = EnsembleNet({str(place): network.net for place, network in enumerate(networks)})
    return Network(net, space, Architecture(type(space).__name__, decisions), data.identities)


def started(
    space: ReIDSpace, architecture: Architecture | None, data: ReIDData, training: Training, seed: int
) -> Network:
    """A network at the start of its training: random by seed, its backbone pretrained where asked."""
    torch.manual_seed(seed)
    net = space.student(architecture)
    if training.pretrained:
        load_pretrained(net.inference().backbone, space.inference()[0].backbone, training.pretrained)
        net.repeat_weights()
    return Network(net, space, architecture, data.identities)


def finish(
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


def load_teacher(run: Run, data: ReIDData, stage: Stage) -> Teacher | None:
    """The recipe's teacher on the stage's device.

    Raises ValueError when it is missing or knows other identities, or when its maps are not what a loss asks for.
    """
    path = teacher_path(run)
    if path is None:
        return None
    network = Network.load(path)
    check_identities("the teacher", network.identities, data.identities, data.name)
    if maps := _maps(run.recipe):
        _rehearse(run.recipe, network.net, len(network.identities), maps)
    return Teacher(stage.prepare(network.net), stage.teacher_autocast, maps)


def _maps(recipe: Recipe) -> tuple[str, ...]:
    """The teacher's maps that the recipe's losses ask for."""
    losses = [loss for loss in (recipe.loss, recipe.search.alpha_loss) if loss]
    return tuple(dict.fromkeys(name for loss in losses for name in loss.teacher_maps))


def _rehearse(recipe: Recipe, teacher_net: nn.Module, num_ids: int, maps: tuple[str, ...]) -> None:
    """One step of the recipe's losses on the meta device, where nothing is computed.

    Raises ValueError for a map that does not exist or fit, before any work.
    """
    height, width = recipe.images.height, recipe.images.width
    searched = [(recipe.space, loss) for loss in (recipe.loss, recipe.search.alpha_loss) if loss and recipe.strategy]
    with torch.device("meta"):
        images, labels = torch.empty(2, 3, height, width), torch.empty(2, dtype=torch.int64)
        teacher = Teacher(copy.deepcopy(teacher_net).to("meta"), nullcontext, maps)
        batch = Batch(images, labels, teacher(images))
        for space, loss in [*searched, (recipe.retrained, recipe.loss)]:
            loss(space.with_ids(num_ids).student()(images), batch, loss.temperature.at(0, 1))


def teacher_path(run: Run) -> Path | None:
    """Where the teacher's weights are; None when the recipe has no teacher."""
    if run.recipe.teacher is None:
        return None
    path = run.recipe.teacher.weights or run.folder / RESULTS["teach"]
    if not path.is_file():
        raise ValueError(
            f"the teacher's weights {path} do not exist: `nas teach {run.name} --out {run.folder}` trains "
            "them, --teacher.weights takes those of an earlier run"
        )
    return path


def _existing(path: Path) -> Path:
    """`path`. Raises ValueError when there is no such file."""
    if not path.is_file():
        raise ValueError(
            f"the teacher {path} does not exist: give a teacher.safetensors or student.safetensors of an earlier run"
        )
    return path
