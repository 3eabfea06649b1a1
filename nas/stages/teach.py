"""`nas teach`: trains the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas.models.network import Network
from nas.models.teacher import load_teacher
from nas.recipe import Recipe
from nas.run import Run
from nas.stages.again import Overwrite, started
from nas.stages.teacher import rehearse
from nas.stages.train_and_save import save_result, train_and_save
from nas.system.files import digest
from nas.system.locks import locked
from nas.training.build import build_network
from search_spaces.architecture import Architecture
from teachers.join import joined


def teach(run: Run, overwrite: Overwrite = False) -> None:
    """Trains the recipe's teacher into `teacher.safetensors`, or joins its members there.

    Goes on where a killed process stopped.
    """
    with started(run, ["teach"], overwrite) as run:
        _teach(run)


def teach_once(run: Run) -> None:
    """The same for several processes at a time: one trains the teacher, and the others wait for it."""
    with locked(run.folder / "teach.lock"):
        teach(run)


def _teach(run: Run) -> None:
    recipe = run.recipe
    if recipe.teacher is None:
        raise ValueError(f"the recipe {run.name!r} has no teacher")
    if recipe.teacher.weights is not None:
        raise ValueError(f"the recipe {run.name!r} takes its teacher from {recipe.teacher.weights}: nothing to teach")
    data = recipe.load()
    teacher = recipe.teacher
    space = teacher.net.with_ids(len(data.identities))
    whole = join([_existing(path) for path in teacher.members], recipe, data) if teacher.members else None
    if recipe.needs_rehearsal:
        with torch.device("meta"):
            network = whole or Network(space.student(), space, None, data.identities).inference()
        rehearse(recipe, network, "the recipe's teacher")
    stage = run.begin("teach", *map(digest, teacher.members))
    if stage is None:
        return
    if whole:
        save_result(run, stage, whole)
        return
    network = build_network(space, None, data.identities, teacher.training, recipe.seed)
    train_and_save(run, stage, network, data, teacher.training, teacher.loss)


def join(paths: Sequence[Path], recipe: Recipe, data: Any) -> Network:
    """The networks in `paths` as one. Raises ValueError naming the file that is for another task than the recipe's, or
    knows other identities than `data`."""
    networks = [load_teacher(path, data.identities, data.name, recipe.data.task) for path in paths]
    space = joined([network.space for network in networks])
    decisions = {
        f"{place}.{name}": answer
        for place, network in enumerate(networks)
        for name, answer in (network.architecture or network.space.published()).decisions.items()
    }
    net = space.join({str(place): network.net for place, network in enumerate(networks)})
    return Network(net, space, Architecture(type(space).__name__, decisions), data.identities)


def _existing(path: Path) -> Path:
    """`path`. Raises ValueError when there is no such file."""
    if not path.is_file():
        raise ValueError(
            f"the teacher {path} does not exist: give a teacher.safetensors or student.safetensors of an earlier run"
        )
    return path
