"""`nas evaluate`: what a run's networks, or what is no run's, are worth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from nas.models.network import Network
from nas.report.metrics import read_metrics
from nas.run import RESULTS, Run
from nas.stages.teacher import teacher_path
from nas.system.at_work import AtWork
from nas.system.config import differences, portable
from nas.system.files import blamed_on, digest
from nas.system.handover import hand_over
from nas.system.progress import logged_in
from nas.tasks.base import FOLDERS, EvaluatedNetwork
from nas.training.stage import Stage
from students.space import check_task

RUN = "a run's networks"
SIDE = ".evaluate"


def evaluate(
    run: Run, overwrite: bool = False, out: Path | None = None, trained_in: Run | None = None
) -> dict[str, Any]:
    """Measures the run's networks, as far as they are trained, on the test split; see `Task.measure`.

    The results go into the run's folder, or into `out`, when all of them are there. What takes long is kept there in
    `evaluate.ckpt`, from which a killed evaluation goes on. trained_in: another run, whose networks are measured
    instead. Raises ValueError as `check_results` does.
    """
    measured_run, recipe = trained_in or run, run.recipe
    networks = trained(measured_run)
    data, folder = recipe.load(to_train=False), out or run.folder
    further = check_rules(run, overwrite, out)
    own = [path for path in network_files(measured_run).values() if path.parent == measured_run.folder]
    further["measured"] = {path.name: digest(path) for path in own}
    run.note_recipe()

    def measured(side: Path) -> dict[str, Any]:
        stage = Stage(side, "evaluate", "", recipe.machine.alone(), checkpoint=kept)
        with stage.working():
            return recipe.task.measure(networks, data, recipe.images, recipe.evaluation, stage, **further)

    kept = folder / "evaluate.ckpt"
    metrics = _in_place(folder, measured)
    kept.unlink(missing_ok=True)
    return metrics


def check_rules(run: Run, overwrite: bool = False, out: Path | None = None) -> dict[str, Any]:
    """What an evaluation of the run notes in `metrics.json` beside its results. Raises ValueError as `check_results`
    does."""
    recipe, folder = run.recipe, out or run.folder
    subject = RUN if folder == run.folder else f"the run {run.folder}"
    rules = {name: portable(getattr(recipe, name)) for name in ("data", "images", "evaluation")}
    if not overwrite:
        check_results(folder, subject, rules, recipe.evaluation)
    return {"rules": rules} if subject == RUN else {"subject": subject, "rules": rules}


def trained(run: Run) -> list[EvaluatedNetwork]:
    """The run's networks by their roles. Raises ValueError when none is trained."""
    paths = network_files(run)
    found = {role: Network.load(path) for role, path in paths.items()}
    for role, network in found.items():
        check_task(f"the {role} {paths[role]} ({network.title})", network.space.task, run.recipe.data.task)
    networks = {role: network for role, network in found.items() if network.space.answers_images}
    if not networks:
        raise ValueError(
            f"{run.folder} has no student.safetensors and no teacher.safetensors yet: `nas retrain "
            f"{run.folder}` or `nas teach {run.name}` comes first"
        )
    return [EvaluatedNetwork(role=role, title=network.title, net=network.net) for role, network in networks.items()]


def network_files(run: Run) -> dict[str, Path]:
    """By their roles the networks of the run, as far as they are trained."""
    recipe = run.recipe
    has_teacher = recipe.teacher and (recipe.teacher.weights or (run.folder / RESULTS["teach"]).exists())
    paths: dict[str, Path | None] = {
        "teacher": teacher_path(run) if has_teacher else None,
        "baseline": run.folder / RESULTS["baseline"],
        "student": run.folder / RESULTS["retrain"],
    }
    paths |= {control: run.folder / RESULTS[control] for control in recipe.controls}
    return {role: path for role, path in paths.items() if path and path.exists()}


class Measurable(Protocol):
    """What is no run's, and how it is measured."""

    @property
    def evaluation(self) -> Any: ...

    @property
    def title(self) -> str: ...

    @property
    def rules(self) -> dict[str, Any]:
        """What decides the numbers: `evaluation`, and whatever else does."""
        ...

    def measured(self, folder: Path, **further: object) -> dict[str, Any]:
        """Measures it into `folder`; what `metrics.json` holds, in which `further` is, too."""
        ...


def evaluate_other(other: Measurable, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Measures what is no run's; see `Task.measure` for what is written into `folder`.

    Raises ValueError when the network or the features cannot be had or do not fit, and as `check_results` does.
    """
    rules = {name: portable(value) for name, value in other.rules.items()}
    if not overwrite:
        check_results(folder, other.title, rules, other.evaluation)
    return _in_place(folder, lambda side: other.measured(side, subject=other.title, rules=rules))


def check_results(folder: Path, subject: str, rules: Mapping[str, Any], evaluation: Any) -> None:
    """Raises ValueError when `folder` holds results of another subject, of another content, or by other rules. What an
    evaluation only draws may differ, and rows may be added. `evaluation` is the one that `rules` hold as plain data."""
    path = folder / "metrics.json"
    if not path.exists():
        return
    held = read_metrics(path)
    if (before := held.get("subject", RUN)) != subject:
        raise ValueError(
            f"{folder} holds the results of {before}, not of {subject}: give --out another folder, "
            "or --overwrite to replace them"
        )
    with blamed_on(path):
        changed = _changed(held, rules, evaluation)
    if changed:
        raise ValueError(
            f"{folder} holds results that were measured otherwise ({'; '.join(changed[:5])}): give --out another "
            "folder, or `nas evaluate ... --overwrite` to replace them"
        )


def _changed(held: Mapping[str, Any], rules: Mapping[str, Any], evaluation: Any) -> list[str]:
    """As `nas.system.config.differences`. Of results of earlier versions only the protocol is known."""
    before, now = held.get("rules"), dict(rules)
    if before is None:
        flat = {**rules.get("images", {}), **rules["evaluation"]}
        known = {name: value for name, value in held.get("protocol", {}).items() if name in flat}
        if "rerank" in flat:
            known["rerank"] = any("rerank" in row for row in held["rows"])
        before, now = {"evaluation": known}, {"evaluation": {name: flat[name] for name in known}}
    old = before["evaluation"]
    for field in fields(evaluation):
        shown, adds = not field.metadata.get("measures", True), field.metadata.get("adds") and not old.get(field.name)
        if shown or adds or not old.get(field.metadata.get("part_of", ""), True):
            now["evaluation"] = {**now["evaluation"], field.name: old.get(field.name)}
    return differences(before, now)


def _in_place(folder: Path, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` leaves in a folder beside takes the place of earlier results at the end, as a whole."""
    side = folder / SIDE
    with AtWork(folder, "evaluate"), logged_in(folder, side):
        shutil.rmtree(side, ignore_errors=True)  # of a killed evaluation
        side.mkdir()
        try:
            metrics = measure(side)
            hand_over(side, folder, FOLDERS, gate="metrics.json")
        finally:
            shutil.rmtree(side, ignore_errors=True)
    return metrics
