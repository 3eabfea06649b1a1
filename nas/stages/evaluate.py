"""`nas evaluate`: what a run's networks, or what is no run's, are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from nas.models.network import Network
from nas.run import RESULTS, Run
from nas.stages.teacher import teacher_path
from nas.system.at_work import AtWork
from nas.system.files import read_object
from nas.tasks.base import EvaluatedNetwork
from nas.training.stage import Stage


def evaluate(run: Run, trained_in: Run | None = None) -> dict[str, Any]:
    """Measures the run's networks, as far as they are trained, on the test split; see `Task.measure`.

    trained_in: another run, whose networks are measured instead.
    """
    networks, recipe = trained(trained_in or run), run.recipe
    data = recipe.load()
    run.note_recipe()
    with AtWork(run.folder, "evaluate"):
        stage = Stage(run.folder, "evaluate", "", recipe.machine)
        return recipe.task.measure(networks, data, recipe.images, recipe.evaluation, stage)


def trained(run: Run) -> list[EvaluatedNetwork]:
    """The run's networks by their roles. Raises ValueError when none is trained."""
    recipe = run.recipe
    has_teacher = recipe.teacher and (recipe.teacher.weights or (run.folder / RESULTS["teach"]).exists())
    paths = {
        "teacher": teacher_path(run) if has_teacher else None,
        "baseline": run.folder / RESULTS["baseline"],
        "student": run.folder / RESULTS["retrain"],
    }
    networks = {role: Network.load(path) for role, path in paths.items() if path and path.exists()}
    if not networks:
        raise ValueError(
            f"{run.folder} has no student.safetensors and no teacher.safetensors yet: `nas retrain "
            f"{run.folder}` or `nas teach {run.name}` comes first"
        )
    return [EvaluatedNetwork(role=role, title=network.title, net=network.net) for role, network in networks.items()]


class Measurable(Protocol):
    """What is no run's, and how it is measured."""

    @property
    def title(self) -> str: ...

    def measured(self, folder: Path) -> dict[str, Any]:
        """Measures it into `folder`; what `metrics.json` holds."""
        ...


def evaluate_other(other: Measurable, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Measures what is no run's; see `Task.measure` for what is written into `folder`.

    Raises ValueError when the network or the features cannot be had or do not fit, and when `folder` holds the results
    of another subject or of other weights, unless they may be replaced.
    """
    path = folder / "metrics.json"
    before = read_object(path).get("subject", "a run's networks") if path.exists() else other.title
    if before != other.title and not overwrite:
        raise ValueError(
            f"{folder} holds the results of {before}, not of {other.title}: give --out another folder, "
            "or --overwrite to replace them"
        )
    with AtWork(folder, "evaluate"):
        return other.measured(folder)
