"""`nas run`, `nas draw` and `nas report`: the stages of a run in order, and its pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nas.evaluate import evaluate
from nas.report import cells as draw
from nas.report import write_report
from nas.retrain import retrain
from nas.run import Run
from nas.search import check_search, search
from nas.teach import teach


def run_all(run: Run, overwrite: bool = False) -> dict[str, Any]:
    """Teaches, searches, retrains, evaluates, draws and reports; what is finished is kept. Returns the metrics.

    Of several processes, the first alone goes on after the training.
    """
    recipe = run.recipe
    if recipe.architecture is not None:
        recipe.retrained.with_ids(1).check(run.architecture())  # before the time for a teacher is spent
    elif recipe.strategy is not None:
        check_search(recipe)
    if recipe.teacher is not None and recipe.teacher.weights is None:
        teach(run, overwrite)
    if recipe.strategy is not None and recipe.architecture is None:
        search(run, overwrite)
    retrain(run, overwrite)
    if not recipe.machine.fabric().is_global_zero:
        sys.exit()
    metrics = evaluate(run)
    draw_architecture(run)
    report(run)
    return metrics


def draw_architecture(run: Run) -> list[Path]:
    """Draws what is retrained: SVG and PNG of every cell."""
    return draw.draw(architecture(run), run.folder)


def architecture(run: Run) -> dict:
    """The run's architecture as plain data; the published one where nothing was searched."""
    chosen = run.architecture() or run.recipe.retrained.with_ids(1).published()
    return {**chosen.to_dict(), "hash": chosen.hash}


def report(run: Run) -> Path:
    """Writes `report.html` from what the run's folder holds."""
    return write_report(run.folder)
