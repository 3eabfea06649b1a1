"""`nas runs`: what lies below a folder, run by run, as their files say: nothing is imported that trains."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nas.report.metrics import read_metrics
from nas.study.place import NOTE
from nas.system.at_work import workers
from nas.system.files import blamed_on, check_format, read_object
from nas.system.progress import FAILED, end_of_log
from nas.system.run_config import RESULTS, read_config

CONFIG, METRICS = "config.json", "metrics.json"
WORK = (*RESULTS, "evaluate")
"""What a process can be at in a run's folder."""
PASSED_OVER = {"again", "features", "plots", "queries", "sheets", "strips", "tensorboard", "workers", "mlruns", "wandb"}
"""Folders in which no runs lie; `again` holds another attempt at a run that is listed."""
ENDS_WITH = {
    "teach": ("teach",),
    "search": ("search",),
    "pretrain": ("pretrain",),
    "retrain": ("retrain", "baseline"),
    **dict.fromkeys(("run", "evaluate", "report"), ("evaluate",)),
}
"""By the command what its end leaves in the folder."""
LINE = re.compile(r"(?P<what>\S+ \d+/\d+)  .*?(?:eta (?P<eta>\S+))?$")
"""What a log says of an epoch or a trial."""
COMMAND = re.compile(r"^== [\d-]+ [\d:]+  nas (\S+)")
TAIL = 65_536
"""Bytes at the end of a log that are read."""
COST = ("mAP", "rank1", "parameters", "multiply_adds", "ms_per_image_1")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """A summary (see `summary`) of each run and study in or below `folder`, the one last worked at first.

    Raises ValueError when there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: `nas runs FOLDER` lists the runs below one, such as runs/out")
    rows = [summary(each) for each in find_runs(folder)]
    for study in rows:
        if study["kind"] != "run" and any(_is_at_work_below(row, study) for row in rows):
            study["state"] = "running"
    return sorted(rows, key=lambda row: (row["age_s"], row["run"]))


def find_runs(folder: Path) -> Iterator[Path]:
    """The folders of runs and studies in and below `folder`; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in PASSED_OVER and not name.startswith("."))
        if {CONFIG, NOTE} & {*files}:
            yield Path(place)


def summary(folder: Path) -> dict[str, Any]:
    """One run or study: `run` (its folder), `kind` (`run`, or the study's command), `recipe`, `data`, `state`
    (`running`, `finished`, `stopped`, `failed`, or `damaged`), `doing` (the stage with its epoch, or the trials that
    have ended), `eta`, `why` it failed, the student's `mAP`, `rank1` (shares), `parameters`, `multiply_adds`,
    `ms_per_image_1` and their `runtime`, `changed` (when it was last worked at) and `age_s` (seconds since then).

    What is not known is None. A damaged file makes a damaged run, and never an error.
    """
    facts: dict[str, Any] = dict.fromkeys(("recipe", "data", "doing", "eta", "why", *COST, "runtime"))
    changed = _last_change(folder)
    now = datetime.now().astimezone()
    facts = {"run": str(folder), "kind": "run", "state": "stopped"} | facts
    facts |= {"changed": changed.isoformat(timespec="seconds"), "age_s": max(0.0, (now - changed).total_seconds())}
    try:
        return facts | (_study(folder) if (folder / NOTE).is_file() else _run(folder))
    except (OSError, ValueError) as error:
        return facts | {"state": "damaged", "why": str(error)}


def _run(folder: Path) -> dict[str, Any]:
    held = read_config(folder)
    with blamed_on(folder / CONFIG):
        data = held["config"]["data"]["kind"]
    return {"recipe": held["recipe"], "data": data, **_measured(folder), **_state(folder, held["config"])}


def _measured(folder: Path) -> dict[str, Any]:
    """What `metrics.json` says of the run's student, or of the only network."""
    if not (folder / METRICS).is_file():
        return {}
    metrics = read_metrics(folder / METRICS)
    rows = [row for row in metrics.get("rows") or [] if not row.get("rerank")]
    found = next((row for row in rows if row.get("role") == "student"), rows[0] if len(rows) == 1 else {})
    with blamed_on(folder / METRICS):
        costs = {key: found.get(key) for key in COST}
        return {**costs, "runtime": (found.get("timing") or {}).get("runtime")}


def _state(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    command, said = _last_lines(folder)
    busy = [*workers(folder, WORK), *workers(folder / "again", WORK)]
    found = next((match for line in reversed(said) if (match := LINE.match(line))), None)
    doing = {"doing": found["what"], "eta": found["eta"]} if found else {}
    if busy:
        at_stage = found is not None and found["what"].split()[0] == busy[0]
        return {"state": "running", **(doing if at_stage else {"doing": busy[0]})}
    if said and said[-1].startswith(FAILED):
        return {"state": "failed", "why": said[-1].removeprefix(FAILED), "doing": doing.get("doing")}
    needed = [each for each in ENDS_WITH.get(command, ()) if each != "baseline" or config.get("baseline")]
    missing = [each for each in needed if not (folder / RESULTS.get(each, METRICS)).exists()]
    begun = [each for each in RESULTS if (folder / f"{each}.ckpt").exists() or (folder / f"{each}.journal").exists()]
    missing += [each for each in begun if not (folder / RESULTS[each]).exists()]
    if missing or not (command or begun or (folder / METRICS).exists()):
        return {"state": "stopped", "doing": doing.get("doing")}
    return {"state": "finished"}


def _last_lines(folder: Path) -> tuple[str, list[str]]:
    """The word of the last command that wrote into the folder's log, and what it said; nothing where there is none."""
    lines = end_of_log(folder, TAIL).splitlines()
    starts = [number for number, line in enumerate(lines) if COMMAND.match(line)]
    if not starts:
        return "", lines
    begin = COMMAND.match(lines[starts[-1]])
    return begin[1] if begin else "", lines[starts[-1] + 1 :]


def _study(folder: Path) -> dict[str, Any]:
    """How far a study is. Only one in a file is opened: a database may be away for minutes."""
    note = read_object(folder / NOTE)
    check_format(note, 1, folder / NOTE)
    with blamed_on(folder / NOTE):
        command, planned, storage = note["command"], note["trials"], note["storage"]
    facts = {"kind": command, "recipe": command, "doing": f"{planned} trials", **_best(folder)}
    if "://" in storage:
        return facts
    from nas.study.watch import watched  # Optuna takes its time

    study = watched(folder)
    ended = study["done"] + study["failed"]
    alive = bool(workers(folder, WORK)) or any(not each["lost"] for each in study["running"])
    state = "finished" if ended >= planned else "running" if alive else "stopped"
    return facts | {"doing": f"{ended} of {planned} trials", "state": state}


def _best(folder: Path) -> dict[str, Any]:
    """Of `nas tune` its recipe and its best trial."""
    path = folder / "trials.json"
    if not path.is_file():
        return {}
    found = read_object(path)
    with blamed_on(path):
        best: dict[str, Any] = next((row for row in found["trials"] if row["state"] == "complete"), {})
        cost = {key: best.get(key) for key in ("mAP", "parameters", "multiply_adds")}
        return {"recipe": found["recipe"], "data": "held-out identities", **cost}


def _is_at_work_below(row: Mapping[str, Any], study: Mapping[str, Any]) -> bool:
    return row["state"] == "running" and Path(study["run"]) in Path(row["run"]).parents


def _last_change(folder: Path) -> datetime:
    """When a file in the folder was last written."""
    times = [entry.stat().st_mtime for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    return datetime.fromtimestamp(max(times, default=folder.stat().st_mtime)).astimezone()
