"""What a study has done so far, as `nas show` says it: nothing of what the trials are worth, unless it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.errors import without_secrets
from nas.study.engine import ENDED
from nas.study.place import NOTE, Place
from nas.study.storage import open_storage
from nas.system.files import blamed_on, check_format, read_object, write_json
from nas.system.processes import is_gone

FORMAT = 1


def note_study(place: Place, command: str, num_trials: int) -> None:
    """Writes into the study's folder which command works at it, and where its trials are."""
    storage = without_secrets(place.storage)
    facts = {"format": FORMAT, "command": command, "storage": storage, "study": place.name, "trials": num_trials}
    if not (place.folder / NOTE).exists() or read_object(place.folder / NOTE) != facts:
        write_json(place.folder / NOTE, facts)


def watched(folder: Path, storage: str = "") -> dict[str, Any]:
    """Of the study in `folder` how many trials have ended, which ones are worked at, by whom and for how long.

    storage: the address, where the folder has one without its password. Raises ValueError when it cannot be reached.
    """
    study, facts = open_noted(folder, storage)
    trials = study.get_trials(deepcopy=False)
    return {
        "run": str(folder),
        **facts,
        "done": sum(trial.state in ENDED for trial in trials),
        "failed": sum("why" in trial.user_attrs for trial in trials),
        "running": trials_at_work(study),
    }


def trials_at_work(study: Study) -> list[dict[str, Any]]:
    """What is worked at: `trial`, `what`, `worker`, `lost` and `minutes` of each."""
    return [_described(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


def open_noted(folder: Path, storage: str = "") -> tuple[Study, dict[str, Any]]:
    """The study that `note_study` has noted in a folder, with its `command` and `num_trials`; as `watched`."""
    path = folder / NOTE
    written = read_object(path)
    check_format(written, FORMAT, path)
    with blamed_on(path):
        place = Place(folder=folder, storage=storage or written["storage"], study=written["study"])
        facts = {"command": written["command"], "num_trials": written["trials"]}
    store = open_storage(place.address, must_exist=True)
    return optuna.load_study(study_name=place.name, storage=store), facts


def _described(trial: FrozenTrial) -> dict[str, Any]:
    since = trial.datetime_start or datetime.now()
    plan: Mapping[str, Any] = trial.user_attrs.get("plan", {})
    return {
        "trial": trial.number,
        "what": {**plan, **trial.params},
        "worker": trial.user_attrs.get("worker"),
        "lost": is_gone(trial.user_attrs.get("process", "")),
        "minutes": round((datetime.now() - since).total_seconds() / 60, 1),
    }
