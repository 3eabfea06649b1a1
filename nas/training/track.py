"""Weights & Biases and MLflow beside TensorBoard: they are told the same numbers, and at the end the report.

Nothing leaves this machine unless their own variables say so: wandb is offline without WANDB_MODE, and MLflow writes
into mlflow.db and mlruns without MLFLOW_TRACKING_URI, both in the run's folder. Each command is a run of theirs, named
as our run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from nas.errors import named
from nas.system.files import blamed_on, read_object
from nas.system.run_config import read_config

PROJECT = "nas-reid"
REPORT, METRICS = "report.html", "metrics.json"
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
"""Characters that MLflow takes in no name of a number."""


class Tracker(Protocol):
    """One run of a tracker."""

    def log(self, stage: str, epoch: int, numbers: Mapping[str, float]) -> None: ...

    def end(self, results: Mapping[str, float], report: Path | None, failed: bool) -> None:
        """`results`: of the evaluation, by `role/measure`."""
        ...


class Wandb:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=PROJECT,
            name=folder.resolve().name,
            dir=os.environ.get("WANDB_DIR", folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=dict(config),
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, stage: str, epoch: int, numbers: Mapping[str, float]) -> None:
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
        self._run.log({f"{stage}/{name}": value for name, value in numbers.items()})

    def end(self, results: Mapping[str, float], report: Path | None, failed: bool) -> None:
        self._run.summary.update(dict(results))
        if report:
            self._run.log({"report": self._wandb.Html(report.read_text(encoding="utf-8"), inject=False)})
        self._run.finish(exit_code=int(failed))


class MLflow:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        place, address = folder.resolve(), os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=address or f"sqlite:///{place / 'mlflow.db'}")
        held = self._client.get_experiment_by_name(PROJECT)
        files = None if address else (place / "mlruns").as_uri()
        experiment = held.experiment_id if held else self._client.create_experiment(PROJECT, files)
        self._id = self._client.create_run(experiment, run_name=place.name).info.run_id
        self._client.log_dict(self._id, dict(config), "config.json")

    def log(self, stage: str, epoch: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._id, NOT_IN_NAMES.sub("_", f"{stage}/{name}"), value, step=epoch)

    def end(self, results: Mapping[str, float], report: Path | None, failed: bool) -> None:
        for name, value in results.items():
            self._client.log_metric(self._id, NOT_IN_NAMES.sub("_", name), value)
        if report:
            self._client.log_artifact(self._id, str(report))
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"wandb": Wandb, "mlflow": MLflow}


@dataclass
class _Tracked:
    """A run of ours that is tracked; its tracker is begun with the first number."""

    name: str
    folder: Path
    tracker: Tracker | None = None

    def begun(self) -> Tracker:
        if self.tracker is None:
            self.tracker = TRACKERS[self.name](self.folder, read_config(self.folder)["config"])
        return self.tracker


_tracked: ContextVar[_Tracked | None] = ContextVar("tracked", default=None)


@contextmanager
def tracked(name: str, folder: Path) -> Iterator[None]:
    """Inside, the tracker `name` is told what the stages of the run in `folder` tell TensorBoard, and at the end
    the results and the report, as far as they are there; `none` is no tracker.

    Raises ValueError for another name, and where the tracker is not installed.
    """
    named("tracker", name, {"none": None, **TRACKERS})
    if name == "none":
        yield
        return
    try:
        import_module(name)
    except ModuleNotFoundError:
        raise ValueError(f"--track {name} needs {name}: pip install 'nas-reid[{name}]'") from None
    run, before = _Tracked(name, folder), _times(folder)
    token = _tracked.set(run)
    failed = True
    try:
        yield
        failed = False
    finally:
        _tracked.reset(token)
        if run.tracker or (not failed and _times(folder) != before):
            report = folder / REPORT
            run.begun().end(_results(folder), report if report.is_file() else None, failed)


def track(folder: Path, stage: str, epoch: int, numbers: Mapping[str, float]) -> None:
    """Tells the numbers of an epoch to the tracker of the run in `folder`, or of a further attempt at it, if any."""
    run = _tracked.get()
    if run and folder in (run.folder, run.folder / "again"):
        run.begun().log(stage, epoch, numbers)


def _times(folder: Path) -> list[int]:
    """When the evaluation and the report were written."""
    return [path.stat().st_mtime_ns for path in (folder / METRICS, folder / REPORT) if path.is_file()]


def _results(folder: Path) -> dict[str, float]:
    path = folder / METRICS
    if not path.is_file():
        return {}
    with blamed_on(path):
        rows = read_object(path).get("rows") or []
        return {
            f"{row.get('role') or row['name']}{'+rerank' if row.get('rerank') else ''}/{key}": float(value)
            for row in rows
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
