"""`nas run`: the stages of a run in order."""

from __future__ import annotations

import sys
from typing import Any

from nas.run import RESULTS, Run
from nas.stages.again import Overwrite, started
from nas.stages.evaluate import check_rules, evaluate
from nas.stages.report import draw_architecture, report
from nas.stages.retrain import retrain
from nas.stages.search import check_search, search
from nas.stages.teach import teach
from nas.strategies.discrete import DiscreteSearch
from nas.training.monitor import run_stages


def run_all(run: Run, overwrite: Overwrite = False) -> dict[str, Any]:
    """Teaches, searches, retrains, evaluates, draws and reports; what is finished is kept. Returns the metrics.

    Of several processes, the first alone goes on after the training.
    """
    recipe = run.recipe
    if recipe.architecture is not None:
        run.architecture()  # one that does not fit is said before the time for a teacher is spent
    elif recipe.strategy is not None:
        check_search(recipe)
    check_rules(run, bool(overwrite))
    with started(run, run.stages("run"), overwrite) as run:
        with run_stages(_epochs(run)):
            if run.does("teach"):
                teach(run)
            if run.does("search"):
                search(run)
            retrain(run)
        if not recipe.machine.is_first:
            sys.exit()
        metrics = evaluate(run, bool(overwrite))
        draw_architecture(run)
        report(run)
    return metrics


def _epochs(run: Run) -> dict[str, int]:
    """By its stages what the run trains: epochs, and none where it is finished."""
    recipe, epochs = run.recipe, dict[str, int]()
    for stage in run.stages("run"):
        epochs[stage] = recipe.retrain.epochs
        if stage == "teach" and recipe.teacher:
            epochs[stage] = 0 if recipe.teacher.members else recipe.teacher.training.epochs
        if stage == "search" and recipe.strategy:
            trials = recipe.strategy.trials if isinstance(recipe.strategy, DiscreteSearch) else 1
            epochs[stage] = recipe.strategy.epochs * trials
        if (run.folder / RESULTS[stage]).exists():
            epochs[stage] = 0
    return epochs
