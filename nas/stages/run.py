"""`nas run`: the stages of a run in order."""

from __future__ import annotations

import sys
from typing import Any

from nas.run import RESULTS, Run
from nas.stages.evaluate import evaluate
from nas.stages.report import draw_architecture, report
from nas.stages.retrain import retrain, retrained_stages
from nas.stages.search import check_search, search
from nas.stages.teach import teach
from nas.strategies.discrete import DiscreteSearch
from nas.training.monitor import run_stages


def run_all(run: Run, overwrite: bool = False) -> dict[str, Any]:
    """Teaches, searches, retrains, evaluates, draws and reports; what is finished is kept. Returns the metrics.

    Of several processes, the first alone goes on after the training.
    """
    recipe = run.recipe
    if recipe.architecture is not None and (architecture := run.architecture()):
        recipe.retrained.with_ids(1).check(architecture)  # before the time for a teacher is spent
    elif recipe.strategy is not None:
        check_search(recipe)
    teaches = recipe.teacher is not None and recipe.teacher.weights is None
    searches = recipe.strategy is not None and recipe.architecture is None
    if not overwrite:
        run.check(*["teach"] * teaches, *["search"] * searches, *retrained_stages(recipe))
    with run_stages(_epochs(run, overwrite, teaches, searches)):
        if teaches:
            teach(run, overwrite)
        if searches:
            search(run, overwrite)
        retrain(run, overwrite)
    if not recipe.machine.fabric().is_global_zero:
        sys.exit()
    metrics = evaluate(run)
    draw_architecture(run)
    report(run)
    return metrics


def _epochs(run: Run, overwrite: bool, teaches: bool, searches: bool) -> dict[str, int]:
    """By its stages what the run trains: epochs, and none where it is finished."""
    recipe, epochs = run.recipe, dict[str, int]()
    if teaches and recipe.teacher:
        epochs["teach"] = 0 if recipe.teacher.members else recipe.teacher.training.epochs
    if searches and recipe.strategy:
        trials = recipe.strategy.trials if isinstance(recipe.strategy, DiscreteSearch) else 1
        epochs["search"] = recipe.strategy.epochs * trials
    epochs |= dict.fromkeys(retrained_stages(recipe), recipe.retrain.epochs)
    finished = [stage for stage in epochs if not overwrite and (run.folder / RESULTS[stage]).exists()]
    return epochs | dict.fromkeys(finished, 0)
