"""`nas reproduce PAPER TABLE --data PATH`: the rows of a published table, one run each; paper against measured."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from nas.arguments import of_recipe
from nas.data.source import DataSource
from nas.errors import near_misses
from nas.pipeline import run_all
from nas.recipe import Recipe
from nas.report.style import svg
from nas.report.table import MISSING, Row, Table, as_markdown, as_rich, millions, multiply_adds, percent
from nas.run import DECIDES, RESULTS, Run
from nas.system.config import fingerprint
from nas.system.files import write_json, write_text
from nas.teach import teach

FORMAT = 1
MODULE = "runs.tables"
OUT = Path("runs/out")
METRICS = {"rank1": "rank-1", "mAP": "mAP"}
COSTS = {"parameters": millions, "multiply_adds": multiply_adds}
USAGE = """usage: nas reproduce PAPER TABLE --data PATH [--rows NAME ...] [--seeds N] [--out DIR] [--small] [--json]
                    [--field value ...]

Runs the rows of a published table one after the other and prints paper against measured. PATH holds the data sets, each
in its usual folder; rows of a data set that is not there are left out. Each row is a run in DIR; the same command goes
on where a stopped one was. Every field of a recipe can be set, for all rows: `nas run RECIPE --help` lists them.

"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a paper's table: the run that reproduces it, and what the paper says came out."""

    name: str
    recipe: Recipe
    paper: Mapping[str, float] = field(default_factory=dict)
    """Shares in [0, 1] by the names of `metrics.json` (`rank1`, `mAP`); empty where the paper has a curve alone."""
    role: str = "student"
    """Which of the run's networks the row is about."""


@dataclass(frozen=True)
class Options:
    """What the command takes beside a recipe's fields."""

    data: Annotated[Path | None, tyro.conf.arg(help="the folder with the data sets")] = None
    rows: Annotated[tuple[str, ...], tyro.conf.arg(help="the rows to run, by parts of their names; none: all")] = ()
    seeds: Annotated[int, tyro.conf.arg(help="how many seeds, from the recipe's on")] = 1


Tables = Mapping[str, Mapping[str, Callable[[], Sequence[Published]]]]


def reproduce_command(arguments: list[str]) -> int:
    """Runs `nas reproduce ARGUMENTS`; the exit status. Raises ValueError for what is unknown or missing."""
    published = importlib.import_module(MODULE)
    papers: Tables = published.PAPERS
    if len(arguments) < 2 or arguments[1].startswith("-"):
        print(USAGE + "\n".join(f"  {paper:<10} {', '.join(tables)}" for paper, tables in papers.items()))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    paper, table, *rest = arguments
    rows = table_named(papers, paper, table)
    ours, rest = tyro.cli(Options, args=rest, prog=f"nas reproduce {paper} {table}", return_unknown_args=True)
    asked, options = _asked(rows, ours, rest, f"nas reproduce {paper} {table}")
    folder = options.out or OUT / f"{paper}-{table}{'-small' * options.small}"
    results = reproduce(asked, folder, ours.seeds, options.overwrite)
    drawn = published.PICTURES.get((paper, table), lambda results, folder: {})(results, folder)
    pictures = [write_text(folder / f"{name}.svg", svg(figure, transparent=False)) for name, figure in drawn.items()]
    if options.json:
        print(json.dumps({"folder": str(folder), "rows": results, "pictures": list(map(str, pictures))}, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(as_rich(paper_against_measured(results)))
        print("\n".join([f"folder: {folder}", *(f"picture: {path}" for path in pictures)]))
    return 0


def table_named(papers: Tables, paper: str, table: str) -> Sequence[Published]:
    """The rows of a paper's table. Raises ValueError with near misses for what is unknown."""
    for what, name, known in (("paper", paper, papers), ("table", table, papers.get(paper, {}))):
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}{near_misses(name, known)}; there are {', '.join(known)}")
    return papers[paper][table]()


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
    results = [
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
            metrics = run_all(run, overwrite and row is _first_of(rows, row.recipe))
            measured = next(each for each in metrics["rows"] if each["role"] == row.role)
            result["runs"].append({"folder": run.folder.name, "seed": recipe.seed, "data": metrics["data"], **measured})
            write_json(folder / "table.json", {"format": FORMAT, "rows": results})
            write_text(folder / "table.md", as_markdown(paper_against_measured(results)))
    return results


def paper_against_measured(results: Sequence[Mapping[str, Any]]) -> Table:
    """Percent; of several seeds the mean and the lowest and highest."""
    columns = [f"{label} {whose}" for label in METRICS.values() for whose in ("paper", "measured")]
    rows = []
    for result in results:
        cells = [
            cell
            for metric in METRICS
            for cell in (percent(result["paper"].get(metric)), _over_seeds(result["runs"], metric))
        ]
        costs = [text(result["runs"][0].get(key)) if result["runs"] else MISSING for key, text in COSTS.items()]
        rows.append(Row((result["name"] + (" (no data)" if result["not_run"] else ""), *cells, *costs)))
    return Table(("network", *columns, "parameters", "multiply-adds"), tuple(rows))


def _asked(rows: Sequence[Published], ours: Options, arguments: list[str], prog: str) -> tuple[list[Published], Any]:
    """The rows that are wanted, their recipes with the data's place and what the command line changes of them."""
    wanted = [row for row in rows if not ours.rows or any(part.lower() in row.name.lower() for part in ours.rows)]
    if not wanted:
        raise ValueError(
            f"no row's name has {' or '.join(map(repr, ours.rows))} in it; the rows are "
            f"{'; '.join(row.name for row in rows)}"
        )
    if ours.data is not None:
        wanted = [
            replace(row, recipe=replace(row.recipe, data=replace(row.recipe.data, root=ours.data))) for row in wanted
        ]
    given = [of_recipe(row.recipe, arguments, prog, "") for row in wanted]
    return [replace(row, recipe=recipe) for row, (recipe, _) in zip(wanted, given, strict=True)], given[0][1]


def _absent(sources: set[DataSource]) -> dict[DataSource, str]:
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


def _first_of(rows: Sequence[Published], recipe: Recipe) -> Published:
    return next(row for row in rows if row.recipe == recipe)


def _folder_name(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", " plus ")).strip("-")


def _over_seeds(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    values = [run[metric] for run in runs]
    if len(values) < 2:
        return percent(values[0]) if values else MISSING
    return f"{percent(float(np.mean(values)))} ({percent(min(values))} to {percent(max(values))})"
