"""A run or a study while it is worked at: how far it is, and what its page draws, read from the files that grow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.report import plots, search_data
from nas.report.history import read_history
from nas.report.numbers import MISSING
from nas.report.page import STAGES
from nas.report.runs import state
from nas.report.study_data import ablated, tuned
from nas.stages.list_runs import WORK, summary
from nas.study.place import NOTE, STORAGE
from nas.system.at_work import workers
from nas.system.files import blamed_on, read_object
from nas.system.progress import end_of_log
from nas.system.run_config import RESULTS, read_config

TRAINING = {f"training-{stage}": title for stage, title in STAGES.items()}
"""The views of the curves of each stage, with their titles."""
SHOWN = 16_384
"""Bytes at the end of a log that a page shows."""
COLUMNS = ("trial", "what", "worker", "minutes")


def title_of(folder: Path) -> str:
    """What a page calls the run."""
    return folder.resolve().name


def page_data(folder: Path) -> dict[str, Any]:
    """What the page that follows a run draws now, by the names of its views (`nas/report/live.html`); what there is
    nothing of is left out. A damaged file leaves out what is drawn from it, and is said in the status."""
    data: dict[str, Any] = {
        "status": _status(folder),
        "log": end_of_log(folder, SHOWN),
        "operations": search_data.OPERATIONS,
    }
    try:
        if (folder / NOTE).is_file():
            data |= _study(folder)
        else:
            config = read_config(folder)["config"]
            data["status"]["stages"] = _stages(folder, config)
            data |= _curves(folder, config)
    except (OSError, ValueError) as error:
        data["status"] |= {"state": "damaged", "where": "", "why": str(error)}
    return {key: value for key, value in data.items() if value}


def _status(folder: Path) -> dict[str, Any]:
    row = summary(folder)
    busy = {**workers(folder, WORK), **workers(folder / "again", WORK)}
    return {
        "title": title_of(folder),
        "state": row["state"],
        "where": state(row).removeprefix(row["state"]).strip(),
        "why": row["why"] or "",
        "stages": [],
        "workers": [_worker(note) for note in busy.values()],
        "note": f"Files of another attempt are in {folder / 'again'}." if (folder / "again").is_dir() else "",
    }


def _worker(note: Mapping[str, Any]) -> str:
    where = f"process {note.get('pid')} on {note.get('host')} since {note.get('since')}"
    return f"{note.get('command', 'a command')} ({where})"


def _stages(folder: Path, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages of the recipe with their epochs, or the trials of a search by trials."""
    with blamed_on(folder / "config.json"):
        planned = _planned(config)
        by_trials = "pruning" in (config["strategy"] or {})
    return [
        {
            "name": STAGES[stage],
            "done": _num_lines(folder / f"{stage}.history.jsonl"),
            "planned": planned[stage],
            "ended": (folder / RESULTS[stage]).exists(),
            "unit": "trials" if stage == "search" and by_trials else "epochs",
        }
        for stage in RESULTS
        if stage in planned
    ]


def _planned(config: Mapping[str, Any]) -> dict[str, int]:
    """By its stages how many epochs, or trials, a run has."""
    teacher, strategy, epochs = config.get("teacher"), config["strategy"], config["retrain"]["epochs"]
    planned = {}
    if teacher and teacher.get("weights") is None:
        planned["teach"] = 0 if teacher.get("members") else teacher["training"]["epochs"]
    if strategy and config.get("architecture") is None:
        planned["search"] = strategy["trials"] if "pruning" in strategy else strategy.get("epochs", 0)
    if config.get("pretraining", {}).get("data"):
        planned["pretrain"] = config["pretraining"]["epochs"]
    stages = ["retrain", *["baseline"] * bool(config.get("baseline")), *config.get("controls", ())]
    return planned | dict.fromkeys(stages, epochs)


def _num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _curves(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    histories = {stage: read_history(folder / f"{stage}.history.jsonl") for stage in STAGES}
    value = (config.get("strategy") or {}).get("proxy", "mAP")
    measured_in = {"value": value, "cost": str((config.get("search") or {}).get("cost", "multiply_adds"))}
    with blamed_on(folder / "search.history.jsonl"):
        searched = search_data.of_search(histories["search"], measured_in, config.get("strategy"))
    for stage, title in STAGES.items():
        with blamed_on(folder / f"{stage}.history.jsonl"):
            panels = plots.training_panels(histories[stage])
            searched[f"training-{stage}"] = search_data.lines_of(panels, title)
    return searched


def _study(folder: Path) -> dict[str, Any]:
    """Who is at which trial of a study, and of `nas tune` what the trials are worth: an ablation tells when all of its
    runs have ended."""
    storage = os.environ.get(STORAGE, "")
    if "://" in read_object(folder / NOTE).get("storage", "") and not storage:
        return {}
    from nas.study.result import importances, ranked  # Optuna takes its time
    from nas.study.watch import open_noted, trials_at_work

    study, facts = open_noted(folder, storage)
    rows = [
        [str(each["trial"]), _what(each["what"]), each["worker"] or MISSING, _minutes(each["minutes"], each["lost"])]
        for each in trials_at_work(study)
    ]
    shown: dict[str, Any] = {"running": {"label": "Trials at work", "columns": COLUMNS, "rows": rows}}
    if facts["command"] == "tune":
        objectives = ["mAP", "multiply_adds"][: len(study.directions)]
        found = {"trials": ranked(study), "importances": importances(study), "objectives": objectives}
        shown["study"] = tuned(found)
    elif facts["command"] == "ablate" and (folder / "ablation.json").is_file():
        with blamed_on(folder / "ablation.json"):
            shown["arms"] = ablated(read_object(folder / "ablation.json"))
    return shown


def _minutes(minutes: float, lost: bool) -> str:
    return f"{minutes:.1f}" + (", its worker is dead" if lost else "")


def _what(facts: Mapping[str, Any]) -> str:
    """What a trial is at, without architectures, which are long."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if isinstance(value, str | int | float))
