"""Where stages are done: in the run's folder, or beside it where they start again, as what is finished stays until its
successor is."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

from nas.errors import near_misses
from nas.report.metrics import outdated, read_metrics
from nas.run import RESULTS, Run, decided, has_begun
from nas.stages.search_result import FOUND
from nas.system.files import digest, read_object, write_json
from nas.system.handover import finish_handover, hand_over
from nas.system.locks import held
from nas.system.run_config import read_config

AGAIN = "again"
"""The folder in the run's where stages start again."""
NOTE = ".attempt.json"
POLL_S = 0.1

Overwrite = bool | Collection[str]
"""The stages that start again, by name; True: all that the command does."""


@contextmanager
def started(run: Run, stages: Sequence[str], overwrite: Overwrite = False) -> Iterator[Run]:
    """The run as `stages` are to be done in it.

    Those that `overwrite` names and the folder holds are done in its folder `again`, a run of its own with the results
    of all other stages. At the end what is new there takes the place of the old. Until then the folder is as it was,
    and whoever is killed goes on with the same call. What fails before it has saved anything leaves nothing.

    Raises ValueError for a name that is none of `stages`, for stages of another configuration that are to be kept, and
    for those that are made of what starts again.
    """
    finish_handover(run.folder)
    named = _named(run, stages, overwrite)
    run.check(*(stage for stage in stages if stage not in named), beside=named)
    if any(has_begun(run.folder, stage) for stage in named):
        with _attempt(run, named) as attempt:
            yield attempt
        return
    _tell_of_attempt(run, stages)
    with _config_kept(run, stages):
        yield run


def _named(run: Run, stages: Sequence[str], overwrite: Overwrite) -> list[str]:
    if isinstance(overwrite, bool):
        return list(stages) * overwrite
    for name in overwrite:
        if name not in stages:
            raise ValueError(
                f"--overwrite takes stages that this command does of the recipe, {', '.join(stages)}, not "
                f"{name!r}{near_misses(name, stages)}"
            )
    if left := [stage for stage in run.dependants(overwrite) if stage in stages]:
        raise ValueError(
            f"{run.folder} holds {' and '.join(left)}, made of what is to start again: give "
            f"{run.restart([*overwrite, *left])}, or --out another folder"
        )
    return [stage for stage in stages if stage in overwrite]


@contextmanager
def _attempt(run: Run, named: Sequence[str]) -> Iterator[Run]:
    again, lock = run.folder / AGAIN, run.folder / f".{AGAIN}.lock"
    wanted = _wanted(run, named)
    while _read_note(again).get("wanted") != wanted:
        with held(lock, wait=False) as alone:
            if alone:
                _prepare(run, named, wanted)
                continue
            if (found := _read_note(again)) and found["wanted"] != wanted:
                raise ValueError(
                    f"another process starts {', '.join(found['wanted'])} again in {again}, with another "
                    "configuration: wait for its end, or give --out another folder"
                )
            sleep(POLL_S)
    note = _read_note(again)
    with held(lock, shared=True):
        try:
            yield replace(run, folder=again)
        except BaseException as error:
            if not any(has_begun(again, stage) for stage in named):
                shutil.rmtree(again, ignore_errors=True)
            elif isinstance(error, ValueError):
                raise ValueError(
                    f"{error}; without {again}, which has what was done so far, it starts afresh"
                ) from error
            raise
    with held(lock):  # others that take part come to their end
        if _read_note(again) == note:
            _take_over(run, named)


def _wanted(run: Run, named: Sequence[str]) -> dict[str, Any]:
    """What makes two attempts the same: the stages, what decides them, and the results that are kept."""
    kept = [run.folder / result for stage, result in RESULTS.items() if stage not in named]
    results = {path.name: digest(path) for path in kept if path.exists()}
    return {stage: [decided(run.recipe, stage), results] for stage in named}


def _read_note(again: Path) -> dict[str, Any]:
    return read_object(again / NOTE) if (again / NOTE).exists() else {}


def _prepare(run: Run, named: Sequence[str], wanted: dict[str, Any]) -> None:
    """A folder with what the run's has of other stages; one that is there already is of another attempt."""
    again = run.folder / AGAIN
    if again.exists():
        warnings.warn(f"{again} is of another attempt, and is begun afresh", stacklevel=2)
        shutil.rmtree(again)
    again.mkdir()
    for path in run.folder.iterdir():
        if path.is_file() and not path.name.startswith(".") and not _is_of(path.name, named):
            try:
                os.link(path, again / path.name)
            except OSError:  # a file system without links
                shutil.copy2(path, again / path.name)
    write_json(again / NOTE, {"id": uuid4().hex, "wanted": wanted})


def _is_of(name: str, stages: Sequence[str]) -> bool:
    """Whether a file of a run's folder belongs to one of the stages."""
    return name in _places(stages) or any(name.startswith(f"{stage}.") for stage in stages)


def _places(stages: Sequence[str]) -> list[str]:
    kinds = ("{}.ckpt", "{}.history.jsonl", "{}.journal", "{}.store.json", "{}.trials", "tensorboard/{}")
    places = [kind.format(stage) for stage in stages for kind in kinds]
    return [*places, *(RESULTS[stage] for stage in stages), *([FOUND] if "search" in stages else [])]


def _take_over(run: Run, named: Sequence[str]) -> None:
    """Puts what an ended attempt has made in the place of what it was to replace."""
    again = run.folder / AGAIN
    old, new = read_config(run.folder), read_config(again)
    ours = {stage: config for stage, config in new["stages"].items() if stage in named or stage not in old["stages"]}
    write_json(again / "config.json", {**new, "stages": old["stages"] | ours})
    for path in again.iterdir():
        place = run.folder / path.name
        if path.is_file() and place.exists() and path.samefile(place):
            path.unlink()
    hand_over(again, run.folder, _places(named), gate="metrics.json")
    metrics = run.folder / "metrics.json"
    if metrics.exists() and (line := outdated(run.folder, read_metrics(metrics))):
        warnings.warn(line, stacklevel=2)


def _tell_of_attempt(run: Run, stages: Sequence[str]) -> None:
    again = run.folder / AGAIN
    begun = [stage for stage in _read_note(again).get("wanted", ()) if has_begun(again, stage)]
    if set(begun) & set(stages):
        warnings.warn(
            f"{again} holds {', '.join(begun)}, started again and not ended: the command that began it goes on with "
            "it, this one leaves it alone",
            stacklevel=4,
        )


@contextmanager
def _config_kept(run: Run, stages: Sequence[str]) -> Iterator[None]:
    """What fails before a stage has saved anything leaves the configuration of the run as it was."""
    path = run.folder / "config.json"
    before = path.read_bytes() if path.exists() else None
    begun = [stage for stage in stages if has_begun(run.folder, stage)]
    try:
        yield
    except BaseException:
        if path.exists() and begun == [stage for stage in stages if has_begun(run.folder, stage)]:
            if before is None:
                path.unlink()
                with suppress(OSError):
                    run.folder.rmdir()
            else:
                path.write_bytes(before)
        raise
