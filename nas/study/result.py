"""What a study found: its trials as plain data, as a table, and the tuned files of the best."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.metrics.front import front
from nas.report.numbers import MISSING, general, multiply_adds, percent, setting
from nas.report.table import Row, Table
from nas.report.tuning import write_tuning_report
from nas.study.overrides import write_overrides
from nas.system.csv_text import csv_text
from nas.system.files import write_json, write_text
from search_spaces.architecture import Architecture

FORMAT = 1
ENDED = ("complete", "pruned", "failed")


def write_results(study: Study, folder: Path) -> dict[str, Any]:
    """Writes `trials.json`, `trials.csv`, tuned files, and `tuning.html` with its `plots/`; returns what the first has.

    `tuned.json` is of the best trial. Where mAP is weighed against MACs, every trial of the front has a file,
    `tuned-trial7.json`, and `tuned.json` is of the most accurate.
    """
    facts = study.user_attrs["facts"]
    rows = ranked(study)
    best = [row for row in rows if row["best"]]
    for row in best:
        own = [f"tuned-trial{row['trial']}.json"] if len(study.directions) > 1 else []
        for name in [*own, "tuned.json"] if row is rows[0] else own:
            architecture = row["architecture"] and Architecture.from_dict(row["architecture"])
            write_overrides(
                folder / name,
                row["changes"],
                architecture,
                recipe=facts["recipe"],
                study=study.study_name,
                trial=row["trial"],
                mAP=row["mAP"],
            )
    found = {
        "format": FORMAT,
        "study": study.study_name,
        "recipe": facts["recipe"],
        "space": facts["space"],
        "objectives": ["mAP", "multiply_adds"][: len(study.directions)],
        "held_out": facts["tuning"]["held_out"],
        "importances": importances(study),
        "trials": rows,
    }
    write_text(folder / "trials.csv", as_csv(rows))
    write_tuning_report(folder, found, trial_table(found), study)
    write_json(folder / "trials.json", found)
    return found


def ranked(study: Study) -> list[dict[str, Any]]:
    """The trials from the best to the worst, then the pruned ones, those that failed, and those that have not ended.

    A trial whose worker died is `lost`; a later one did its work, and has its number in `retries`.
    """
    rows = [
        _row(trial)
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.FAIL or "worker" in trial.user_attrs  # a second trial of a place has no worker
    ]
    complete = [row for row in rows if row["state"] == "complete"]
    costs = [row["multiply_adds"] if len(study.directions) > 1 else 0.0 for row in complete]
    for row, is_best in zip(complete, front(costs, [row["mAP"] for row in complete]), strict=True):
        row["best"] = bool(is_best)
    order = {state: place for place, state in enumerate((*ENDED, "running", "waiting", "lost"))}
    return sorted(rows, key=lambda row: (order[row["state"]], -(row["mAP"] or 0.0), row["trial"]))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    notes = trial.user_attrs
    states = {TrialState.FAIL: "failed" if "why" in notes else "lost"}
    running = trial.intermediate_values
    score = notes.get("score", {})
    return {
        "trial": trial.number,
        "state": states.get(trial.state, trial.state.name.lower()),
        "best": False,
        "mAP": score.get("mAP"),
        "multiply_adds": score.get("multiply_adds"),
        "parameters": score.get("parameters"),
        "minutes": score.get("minutes"),
        "epochs_told": max(running, default=None),
        "worker": notes.get("worker"),
        "why": notes.get("why"),
        "params": dict(trial.params),
        "changes": notes.get("changes", {}),
        "architecture": notes.get("architecture"),
    }


def importances(study: Study) -> dict[str, float]:
    """The share of each parameter in how the mAP varies (PED-ANOVA, Optuna's default); empty with too few trials."""
    complete = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if trial.params]
    if len({trial.values[0] for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():  # it looks for low values, which it says each time, and says when trials are few
        warnings.simplefilter("ignore", UserWarning)
        return optuna.importance.get_param_importances(study, target=lambda trial: -trial.values[0])


def trial_table(found: dict[str, Any]) -> Table:
    """A row for each trial, in the order of the ranks; an architecture as its hash."""
    rows = found["trials"]
    columns = {
        "rank": [str(place) if row["state"] == "complete" else MISSING for place, row in enumerate(rows, 1)],
        "trial": [str(row["trial"]) for row in rows],
        "state": [row["state"] for row in rows],
        "mAP": percent.column([row["mAP"] for row in rows]),
        "MACs": multiply_adds.column([row["multiply_adds"] for row in rows]),
        "minutes": general.column([row["minutes"] for row in rows]),
    }
    if len(found["objectives"]) == 1:
        del columns["MACs"]
    asked = _asked(rows)
    cells = zip(*columns.values(), *(_cells(rows, key) for key in asked), strict=True)
    return Table(
        columns=(*columns, *asked),
        rows=tuple(Row(each, best=row["best"]) for row, each in zip(rows, cells, strict=True)),
        text=("state",),
    )


def _asked(rows: Sequence[dict]) -> list[str]:
    """The parameters that have a column: all but the decisions of an architecture, which share one."""
    decided = {key for row in rows for key in row["params"] if _is_decision(row, key)}
    names = list(dict.fromkeys(key for row in rows for key in row["params"] if key not in decided))
    return names + ["architecture"] * bool(decided)


def _is_decision(row: dict, key: str) -> bool:
    """Whether a parameter is one of the architecture's questions, or a part of one (`cell.2<0` of `cell.2`)."""
    decisions = (row["architecture"] or {}).get("decisions", {})
    return key in decisions or key.partition("<")[0].removesuffix(".inputs") in decisions


def _cells(rows: Sequence[dict], key: str) -> list[str]:
    """A parameter's column."""
    if key == "architecture":
        found = [row["architecture"] for row in rows]
        return [Architecture.from_dict(each).hash if each else MISSING for each in found]
    values = [row["params"].get(key) for row in rows]
    write = setting.beside(value for value in values if isinstance(value, float))
    return [MISSING if value is None else write(value) if isinstance(value, float) else str(value) for value in values]


def as_csv(rows: Sequence[dict]) -> str:
    """The trials as a table with a column for each parameter."""
    columns = ["trial", "state", "best", "mAP", "multiply_adds", "parameters", "minutes", "worker", "why"]
    params = list(dict.fromkeys(key for row in rows for key in row["params"]))
    cells = [[*(row[column] for column in columns), *(row["params"].get(key) for key in params)] for row in rows]
    return csv_text([[*columns, *params], *cells])
