"""`nas reproduce PAPER TABLE --data PATH`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from nas.cli.arguments import OUT, parse_recipe_args
from nas.cli.arguments import Options as CommonOptions
from nas.cli.parse import parse
from nas.errors import near_misses
from nas.ranges import Count, Ranged
from nas.recipe import Recipe
from nas.report.style import svg
from nas.report.table import as_rich
from nas.stages.paper_figures import paper_figure
from nas.stages.reproduce import paper_against_measured, reproduce
from nas.study.published import Published
from nas.system.files import write_text

USAGE = """usage: nas reproduce PAPER TABLE --data PATH [--rows NAME ...] [--seeds N] [--out DIR] [--small] [--json]
                    [--field value ...]

Runs the rows of a published table one after the other and prints paper against measured. PATH holds the data sets, each
in its usual folder; rows of a data set that is not there are left out. Each row is a run in DIR; the same command goes
on where a stopped one was. Every field of a recipe can be set, for all rows: `nas run RECIPE --help` lists them.

"""


@dataclass(frozen=True)
class Options(Ranged):
    """What the command takes beside a recipe's fields."""

    data: Annotated[Path | None, tyro.conf.arg(help="the folder with the data sets")] = None
    rows: Annotated[tuple[str, ...], tyro.conf.arg(help="the rows to run, by parts of their names; none: all")] = ()
    seeds: Annotated[Count, tyro.conf.arg(help="how many seeds, from the recipe's on")] = 1


Tables = Mapping[str, Mapping[str, Callable[[], Sequence[Published]]]]


def main(arguments: list[str]) -> int:
    """Runs `nas reproduce ARGUMENTS`; the exit status. Raises ValueError for what is unknown or missing."""
    import runs.tables

    papers: Tables = runs.tables.PAPERS
    if len(arguments) < 2 or arguments[1].startswith("-"):
        print(USAGE + "\n".join(f"  {paper:<10} {', '.join(tables)}" for paper, tables in papers.items()))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    paper, table, *rest = arguments
    rows = table_named(papers, paper, table)
    ours, rest = parse(Options, rest, prog=f"nas reproduce {paper} {table}", return_unknown_args=True)
    asked, options = _asked(rows, ours, rest, f"nas reproduce {paper} {table}")
    folder = options.out or OUT / f"{paper}-{table}{'-small' * options.small}"
    picture = runs.tables.PICTURES.get((paper, table))
    draw = paper_figure(picture) if picture else None
    results = reproduce(asked, folder, ours.seeds, options.overwrite)
    drawn = draw(results, folder) if draw else {}
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


def _asked(
    rows: Sequence[Published], ours: Options, arguments: list[str], prog: str
) -> tuple[list[Published], CommonOptions]:
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
    given: list[tuple[Recipe, CommonOptions]] = [parse_recipe_args(row.recipe, arguments, prog, "") for row in wanted]
    return [replace(row, recipe=recipe) for row, (recipe, _) in zip(wanted, given, strict=True)], given[0][1]
