"""`nas teach`: trains the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas.models.network import Network
from nas.run import Run
from nas.stages.again import Overwrite, started
from nas.stages.teacher import asked_maps, rehearse
from nas.stages.train_and_save import save_result, train_and_save
from nas.system.files import digest
from nas.training.build import build_network
from search_spaces.architecture import Architecture
from teachers.ensemble import Ensemble, EnsembleNet
from teachers.teacher import check_identities


def teach(run: Run, overwrite: Overwrite = False) -> None:
    """Trains the recipe's teacher into `teacher.safetensors`, or joins its members there.

    Goes on where a killed process stopped.
    """
    with started(run, ["teach"], overwrite) as run:
        _teach(run)


def _teach(run: Run) -> None:
    recipe = run.recipe
    if recipe.teacher is None:
        raise ValueError(f"the recipe {run.name!r} has no teacher")
    if recipe.teacher.weights is not None:
        raise ValueError(f"the recipe {run.name!r} takes its teacher from {recipe.teacher.weights}: nothing to teach")
    data = recipe.load()
    teacher = recipe.teacher
    space = teacher.net.with_ids(len(data.identities))
    if not teacher.members and (maps := asked_maps(recipe)):
        with torch.device("meta"):
            rehearse(recipe, space.student(), len(data.identities), maps)
    stage = run.begin("teach", *(digest(_existing(path)) for path in teacher.members))
    if stage is None:
        return
    if teacher.members:
        save_result(run, stage, join(teacher.members, data))
        return
    network = build_network(space, None, data.identities, teacher.training, recipe.seed)
    train_and_save(run, stage, network, data, teacher.training, teacher.loss)


def join(paths: Sequence[Path], data: Any) -> Network:
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


def _existing(path: Path) -> Path:
    """`path`. Raises ValueError when there is no such file."""
    if not path.is_file():
        raise ValueError(
            f"the teacher {path} does not exist: give a teacher.safetensors or student.safetensors of an earlier run"
        )
    return path
