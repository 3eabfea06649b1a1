"""`nas reproduce PAPER TABLE --data PATH`: the rows of a published table, one run each; paper against measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.source import Source
from nas.recipe import Recipe
from nas.report.numbers import MISSING, millions, multiply_adds, percent
from nas.report.table import Row, Table, as_markdown
from nas.run import DECIDES, RESULTS, Run
from nas.stages.run import run_all
from nas.stages.teach import teach
from nas.study.published import Published
from nas.system.config import fingerprint
from nas.system.files import write_json, write_text

FORMAT = 1

METRICS = {"rank1": "rank-1", "mAP": "mAP"}

COSTS = {"parameters": millions, "multiply_adds": multiply_adds}


def reproduce(
    rows: Sequence[Published], folder: Path, num_seeds: int = 1, overwrite: bool = False
) -> list[dict[str, Any]]:
    """Runs the rows, of equal recipes one, and trains each teacher once; gives the results.

    `folder/table.json` and `table.md` hold them after each run. Raises ValueError when no row's data set is there.
    """
    if num_seeds < 1:
        raise ValueError(f"seeds must be at least 1, not {num_seeds}")
    absent = _absent({row.recipe.data for row in rows})
    if all(row.recipe.data in absent for row in rows):
        raise ValueError(next(iter(absent.values())))
    runs: dict[Recipe, str] = {}
    for row in rows:
        runs.setdefault(row.recipe, _folder_name(row.name))
    results: list[dict[str, Any]] = [
        {
            "name": row.name,
            "paper": dict(row.paper),
            "data": type(row.recipe.data).__name__,
            "not_run": absent.get(row.recipe.data),
            "runs": [],
        }
        for row in rows
    ]
    for number in range(num_seeds):
        for row, result in zip(rows, results, strict=True):
            if row.recipe.data in absent:
                continue
            recipe = replace(row.recipe, seed=row.recipe.seed + number)
            run = Run(folder / f"{runs[row.recipe]}-seed{recipe.seed}", runs[row.recipe], _taught(recipe, folder))
            is_first = row is next(each for each in rows if each.recipe == row.recipe)
            metrics = run_all(run, overwrite and is_first)
            measured = next(each for each in metrics["rows"] if each["role"] == row.role)
            result["runs"].append({"folder": run.folder.name, "seed": recipe.seed, "data": metrics["data"], **measured})
            write_json(folder / "table.json", {"format": FORMAT, "rows": results})
            write_text(folder / "table.md", as_markdown(paper_against_measured(results)))
    return results


def paper_against_measured(results: Sequence[Mapping[str, Any]]) -> Table:
    """Percent; of several seeds the mean and the lowest and highest."""
    columns = [f"{label} {whose}" for label in METRICS.values() for whose in ("paper", "measured")]
    costs = [
        text.column([result["runs"][0].get(key) if result["runs"] else None for result in results])
        for key, text in COSTS.items()
    ]
    rows = []
    for result, *cost in zip(results, *costs, strict=True):
        cells = [
            cell
            for metric in METRICS
            for cell in (percent(result["paper"].get(metric)), _over_seeds(result["runs"], metric))
        ]
        rows.append(Row((result["name"] + (" (no data)" if result["not_run"] else ""), *cells, *cost)))
    return Table(("network", *columns, "parameters", "MACs"), tuple(rows))


def _absent(sources: Iterable[Source]) -> dict[Source, str]:
    """The data sets that cannot be read, and why."""
    reasons = {}
    for source in sources:
        try:
            source.load()
        except ValueError as error:
            reasons[source] = str(error)
    return reasons


def _taught(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its teacher trained: rows with the same teacher share one."""
    if recipe.teacher is None or recipe.teacher.weights is not None:
        return recipe
    kind = fingerprint(*(getattr(recipe, name) for name in DECIDES["teach"]))[:8]
    run = Run(folder / f"teacher-{kind}", "teacher", recipe)
    teach(run)
    return replace(recipe, teacher=replace(recipe.teacher, weights=run.folder / RESULTS["teach"]))


def _folder_name(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", " plus ")).strip("-")


def _over_seeds(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    values = [run[metric] for run in runs]
    if len(values) < 2:
        return percent(values[0]) if values else MISSING
    return f"{percent(float(np.mean(values)))} ({percent(min(values))} to {percent(max(values))})"
