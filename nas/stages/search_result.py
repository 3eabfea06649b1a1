"""What a search has found, entry by entry; each can be taken out as a run of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.recipe import Recipe
from nas.run import RESULTS, Run
from nas.strategies.board import Trial
from nas.strategies.discrete import front, ranked
from nas.study.joint import split_decisions
from nas.system.config import apply_overrides
from nas.system.files import read_json, write_json
from search_spaces.architecture import Architecture

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One architecture of the ranked list or of the front."""

    name: str
    """As `--entry` takes it: `1` is the best of the ranked list, `front:1` the cheapest of the front."""
    architecture: Architecture
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What a joint search decided beside it: encoded values of the recipe's fields."""
    score: float | None = None
    cost: float | None = None

    @property
    def folder_name(self) -> str:
        return f"entry-{self.name.replace(':', '-')}"


@dataclass(frozen=True, kw_only=True)
class Entries:
    """A search's result, or what there is of it."""

    ranked: Sequence[Entry]
    front: Sequence[Entry] = ()
    value: str = ""
    """What the scores are: `mAP` (a share) or `log weight`."""
    cost: str = ""
    """What the costs are, of the networks as they were searched: `multiply_adds` or `latency_ms`."""
    notes: Mapping[str, object] = field(default_factory=dict)
    finished: bool = True


def entries(run: Run, history: Sequence[Mapping]) -> Entries:
    """What the search has found; before its end what its history says so far.

    Raises ValueError when it has not begun or its files are damaged.
    """
    path = run.folder / "architectures.json"
    if (run.folder / RESULTS["search"]).exists() and path.exists():
        return _of_file(path)
    if run.recipe.strategy is None:
        raise ValueError(
            f"{run.folder} has no search: its recipe takes {run.recipe.architecture or 'the published architecture'}"
        )
    if not history:
        raise ValueError(
            f"{run.folder} has no result of a search yet: `nas search {run.name} --out {run.folder}` comes first"
        )
    return _of_history(history, run)


def entry_run(run: Run, name: str, overwrite: bool = False) -> Run:
    """A run of its own for the entry `name`: it retrains that architecture, with the run's teacher and no baseline.

    Its folder `entry-N` inside the run's holds the architecture and the configuration. Raises ValueError when the
    search has not ended, for a name that is no entry's, and when the folder has another architecture, as after another
    search; `overwrite` replaces that one.
    """
    found = entries(run, ())
    by_name = {entry.name: entry for entry in (*found.ranked, *found.front)}
    if name not in by_name:
        on_front = f", or front:N with N from 1 to {len(found.front)}" if found.front else "; there is no front"
        raise ValueError(
            f"--entry must be N from 1 to {len(found.ranked)}{on_front}, not {name!r}. "
            f"`nas show {run.folder}` lists them"
        )
    entry = by_name[name]
    folder = run.folder.resolve() / entry.folder_name
    path = folder / RESULTS["search"]
    held = Architecture.from_dict(read_json(path)) if path.exists() else entry.architecture
    if held != entry.architecture and not overwrite:
        raise ValueError(
            f"{folder} holds {held.hash} of another search, entry {name} is {entry.architecture.hash} "
            "now: --overwrite replaces it"
        )
    own = Run(run.folder / entry.folder_name, run.name, apply_overrides(_of_entry(run, path), entry.changes))
    write_json(path, {**entry.architecture.to_dict(), "hash": entry.architecture.hash})
    own.note_recipe()
    return own


def _of_entry(run: Run, architecture: Path) -> Recipe:
    """The run's recipe without search and baseline, with paths that hold from everywhere."""
    teacher = run.recipe.teacher
    if teacher is not None:
        weights = (teacher.weights or run.folder / RESULTS["teach"]).resolve()
        teacher = replace(teacher, weights=weights, members=())
    return replace(run.recipe, architecture=architecture, strategy=None, teacher=teacher, baseline=None)


def search_history(run: Run) -> list[dict]:
    """The lines of `search.history.jsonl`, an epoch or a trial each; none before the search."""
    path = run.folder / "search.history.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must have a JSON object in each line: {error}") from None


def _of_file(path: Path) -> Entries:
    data = read_json(path)
    try:
        if data.get("format", FORMAT) > FORMAT:
            raise ValueError(f"it has format {data['format']}, this version reads {FORMAT}: update it")
        lists = {
            prefix: [
                Entry(
                    name=f"{prefix}{place}",
                    architecture=Architecture.from_dict(line["architecture"]),
                    changes=line["architecture"].get("changes", {}),
                    score=line.get("score"),
                    cost=line.get("cost"),
                )
                for place, line in enumerate(data.get(key, []), start=1)
            ]
            for key, prefix in (("ranked", ""), ("front", "front:"))
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not list what a search found: {error}") from None
    return Entries(
        ranked=lists[""],
        front=lists["front:"],
        value=data.get("value", "log weight"),
        cost=data.get("cost", ""),
        notes=data.get("notes", {}),
    )


def _of_history(history: Sequence[Mapping], run: Run) -> Entries:
    """The trials that ended; of a search by gradient, which has none, what it would derive now."""
    tried = [Trial.from_dict(line) for line in history if "score" in line]
    if tried:

        def entry(name: str, score: float, cost: float, architecture: Architecture) -> Entry:
            own, changes = split_decisions(architecture, run.recipe)
            return Entry(name=name, architecture=own, changes=changes, score=score, cost=cost)

        costs = {trial.architecture: trial.score.cost for trial in tried}
        return Entries(
            ranked=[
                entry(str(place), score, costs[architecture], architecture)
                for place, (score, architecture) in enumerate(ranked(tried), start=1)
            ],
            front=[entry(f"front:{place}", *point) for place, point in enumerate(front(tried), start=1)],
            value="mAP",
            cost=run.recipe.search.cost,
            finished=False,
        )
    predicted = [{"space": type(run.recipe.space).__name__, **line} for line in history if "decisions" in line]
    return Entries(
        ranked=[Entry(name="1", architecture=Architecture.from_dict(line)) for line in predicted[-1:]], finished=False
    )
