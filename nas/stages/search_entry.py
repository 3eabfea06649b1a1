"""The entries of a search as networks: what they cost as students, and a run of its own for one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nas.recipe import Recipe
from nas.run import RESULTS, Run, read_architecture
from nas.stages.search_result import Entries, Entry, read_entries
from nas.strategies.trials import Trial, front, further_of, ranked
from nas.study.joint import split_decisions
from nas.system.config import apply_overrides
from nas.system.files import write_json
from nas.tasks.base import image_size
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost


def entry_run(run: Run, name: str, overwrite: bool = False) -> Run:
    """A run of its own for the entry `name`: it retrains that architecture alone, with the run's teacher.

    Its folder `entry-N` inside the run's holds the architecture and the configuration. Raises ValueError when the
    search has not ended, for a name that is no entry's, and when the folder has another architecture, as after another
    search; `overwrite` replaces that one.
    """
    found = read_entries(run.folder)
    by_name = {entry.name: entry for entry in (*found.ranked, *found.front)}
    if name not in by_name:
        on_front = f", or front:N with N from 1 to {len(found.front)}" if found.front else " (this search has no front)"
        raise ValueError(
            f"--entry must be N from 1 to {len(found.ranked)}{on_front}, not {name!r}. "
            f"`nas show {run.folder}` lists them"
        )
    entry = by_name[name]
    folder = run.folder.resolve() / entry.folder_name
    path = folder / RESULTS["search"]
    held = read_architecture(path) if path.exists() else entry.architecture
    if held != entry.architecture and not overwrite:
        raise ValueError(
            f"{folder} holds {held.hash} of another search, entry {name} is {entry.architecture.hash} "
            "now: --overwrite replaces it"
        )
    own = Run(run.folder / entry.folder_name, run.name, apply_overrides(_of_entry(run, path), entry.overrides))
    write_json(path, {**entry.architecture.to_dict(), "hash": entry.architecture.hash})
    own.note_recipe()
    return own


def _of_entry(run: Run, architecture: Path) -> Recipe:
    """The run's recipe without search, baseline and controls, with paths that hold from everywhere."""
    teacher = run.recipe.teacher
    if teacher is not None:
        weights = (teacher.weights or run.folder / RESULTS["teach"]).resolve()
        teacher = replace(teacher, weights=weights, members=())
    return replace(run.recipe, architecture=architecture, strategy=None, teacher=teacher, baseline=None, controls=())


def student_cost(recipe: Recipe, architecture: Architecture) -> dict[str, int]:
    """`parameters` and `multiply_adds` of the student that `architecture` is retrained as, without classifier.

    Nothing is allocated. Raises ValueError when it is none of the student's space.
    """
    with torch.device("meta"):
        student = recipe.task.deployed(recipe.retrained.with_ids(1).student(architecture).inference())
    counted = cost(student, *image_size(recipe.task, recipe))
    return {"parameters": counted.parameters, "multiply_adds": counted.multiply_adds}


def entries_so_far(run: Run, history: Sequence[Mapping]) -> Entries:
    """Of a search that goes on the trials that ended; of one by gradient, which has none, what it would derive now."""
    tried = [Trial.from_dict(line, number) for number, line in enumerate(history) if "score" in line]
    if tried:

        def entry(name: str, score: float, cost: float, architecture: Architecture) -> Entry:
            own, overrides = split_decisions(architecture, run.recipe)
            beside = further.get(architecture, {})
            return Entry(name=name, architecture=own, overrides=overrides, score=score, cost=cost, further=beside)

        costs, further = {trial.architecture: trial.score.cost for trial in tried}, further_of(tried)
        return Entries(
            ranked=[
                entry(str(place), score, costs[architecture], architecture)
                for place, (score, architecture) in enumerate(ranked(tried), start=1)
            ],
            front=[entry(f"front:{place}", *point) for place, point in enumerate(front(tried), start=1)],
            value=run.recipe.strategy.measure if run.recipe.strategy else "mAP",
            cost=run.recipe.search.cost,
            finished=False,
        )
    predicted = [{"space": type(run.recipe.space).__name__, **line} for line in history if "decisions" in line]
    return Entries(
        ranked=[Entry(name="1", architecture=Architecture.from_dict(line)) for line in predicted[-1:]], finished=False
    )
