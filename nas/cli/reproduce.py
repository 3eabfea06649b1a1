"""`nas reproduce PAPER TABLE --data PATH`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.arguments import OUT, OVERWRITE, parse_recipe_args
from nas.cli.arguments import Options as CommonOptions
from nas.cli.files import Files, say
from nas.cli.parse import parse
from nas.cli.workers import work_at_study
from nas.errors import near_misses
from nas.recipe import Recipe
from nas.report.numbers import MISSING
from nas.report.style import svg
from nas.report.table import Row, Table, as_rich, terminal
from nas.stages.paper_figures import paper_figure
from nas.stages.paper_table import result_tables
from nas.stages.reproduce import Reproduction, plan_facts, why_not_run, work_line
from nas.stages.table_plan import plan
from nas.stages.untrained import untrained, untrained_figures, untrained_notes, untrained_table
from nas.study.place import GRACE_S, Place
from nas.study.published import Published
from nas.system.files import read_object, write_text
from search_spaces.ranges import Count, Positive, Processes, Ranged

USAGE = """usage: nas reproduce PAPER TABLE --data PATH [--rows NAME ...] [--seeds N] [--workers N] [--plan] [--out DIR]
                    [--small] [--json] [--field value ...]

Runs the rows of a published table one after another and prints the measured numbers beside the paper's. PATH contains
the data sets, each in its usual folder; rows whose data set is missing are left out. Each row is a run in DIR; the same
command resumes one that was stopped, and shares the rows with one that is running. Every field of a recipe can be set,
for all rows: see `nas run RECIPE --help`.

A network that the paper tests on several test sets is trained once, and a teacher once for all seeds of its students.
--plan lists what would be trained, and trains nothing.

Example: nas reproduce fast_reid table3 --data data

"""


@dataclass(frozen=True)
class Options(Ranged):
    """What the command takes beside a recipe's fields."""

    data: Annotated[Path | None, tyro.conf.arg(help="the folder with the data sets")] = None
    rows: Annotated[tuple[str, ...], tyro.conf.arg(help="the rows to run, by parts of their names; none: all")] = ()
    seeds: Annotated[Count, tyro.conf.arg(help="number of seeds of each student, counting up from the recipe's")] = 1
    plan: Annotated[bool, tyro.conf.arg(help="only list what would be trained and measured")] = False
    workers: Annotated[Processes, tyro.conf.arg(help="processes that share the rows here")] = 1
    storage: Annotated[
        str,
        tyro.conf.arg(help="a file or a database's address for the study; by default study.journal in the folder"),
    ] = ""
    grace: Annotated[
        Positive,
        tyro.conf.arg(help="seconds without a sign of life after which a worker elsewhere is taken for dead"),
    ] = GRACE_S
    work_only: Annotated[bool, tyro.conf.arg(help="take part and write no results: what --workers starts")] = False


Tables = Mapping[str, Mapping[str, Callable[[], Sequence[Published]]]]


def main(arguments: Sequence[str]) -> int:
    """Runs `nas reproduce ARGUMENTS`; the exit status. Raises ValueError for what is unknown or missing."""
    import runs.tables

    papers: Tables = runs.tables.PAPERS
    if len(arguments) < 2 or arguments[1].startswith("-"):
        print(USAGE + "\n".join(f"  {paper:<10} {', '.join(tables)}" for paper, tables in papers.items()))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    paper, table, *rest = arguments
    asked, ours, options, folder = _read(papers, paper, table, rest)
    if measure := runs.tables.UNTRAINED.get((paper, table)):
        return _measure_untrained(measure, asked, ours, options, folder)
    if ours.plan:
        return _show_plan(asked, folder, ours.seeds, options.json)
    picture = runs.tables.PICTURES.get((paper, table))
    draw = paper_figure(picture) if picture else None
    files = Files(folder)
    if options.overwrite and ours.workers > 1:
        raise ValueError(f"{OVERWRITE} starts again in one process: leave --workers out, or give --out another folder")
    place = Place(folder=folder, storage=ours.storage, grace_s=ours.grace)
    reproduction = Reproduction(asked, place, ours.seeds, options.overwrite)
    if ours.work_only:
        reproduction.work()
        return 0
    print(work_line(reproduction.steps, folder), file=sys.stderr if options.json else sys.stdout, flush=True)
    threads = reproduction.steps[0].recipe.machine.threads
    work_at_study("reproduce", reproduction.work, main, arguments, ours.workers, threads, folder, reproduction.engine)
    reproduction.write()
    results = reproduction.results()
    notes = read_object(folder / "table.json")["notes"]
    drawn = draw(results, folder) if draw else {}
    pictures = [write_text(folder / f"{name}.svg", svg(figure, transparent=False)) for name, figure in drawn.items()]
    if not options.json:
        for shown in result_tables(results):
            terminal().print(as_rich(shown))
        print("".join(f"{note}\n" for note in notes), end="")
    said = {"folder": str(folder), "rows": results, "notes": notes, "pictures": list(map(str, pictures))}
    say(said, files.written(pictures), options.json)
    return 0


def folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the table that these arguments ask for. Raises ValueError for what is unknown or missing."""
    import runs.tables

    if len(arguments) < 2:
        raise ValueError(f"`nas reproduce` takes a paper and a table, got {' '.join(arguments)}: name both")
    paper, table, *rest = arguments
    return _read(runs.tables.PAPERS, paper, table, rest)[-1]


def _read(
    papers: Tables, paper: str, table: str, arguments: list[str]
) -> tuple[list[Published], Options, CommonOptions, Path]:
    """The rows that are wanted, this command's options, those of its recipes, and the folder."""
    prog = f"nas reproduce {paper} {table}"
    rows = table_named(papers, paper, table)
    ours, rest = parse(Options, arguments, prog=prog, return_unknown_args=True)
    asked, options = _asked(rows, ours, rest, prog)
    return asked, ours, options, options.out or OUT / f"{paper}-{table}{'-small' * options.small}"


def _measure_untrained(
    measure: str, rows: Sequence[Published], ours: Options, options: CommonOptions, folder: Path
) -> int:
    """Measures networks that need no training, and no data. Raises ValueError for seeds and workers."""
    if ours.seeds > 1 or ours.workers > 1 or ours.storage or ours.work_only:
        raise ValueError("nothing of this table is trained: leave out --seeds, --workers and --storage")
    names = [row.name for row in rows]
    if ours.plan:
        said = {"trainings": 0, "teachers": 0, "steps": [{"name": name} for name in names], "folder": str(folder)}
        line = f"0 trainings and 0 teachers to train, {len(names)} rows to measure, in {folder}: {'; '.join(names)}"
        print(json.dumps(said, indent=2) if options.json else line)
        return 0
    files = Files(folder)
    results = untrained(measure, rows, folder, options.overwrite)
    drawn = untrained_figures(results)
    pictures = [write_text(folder / f"{name}.svg", svg(figure, transparent=False)) for name, figure in drawn.items()]
    notes = untrained_notes(results)
    if not options.json:
        terminal().print(as_rich(untrained_table(measure, results)))
        print("".join(f"{note}\n" for note in notes), end="")
    said = {"folder": str(folder), "rows": results, "notes": notes, "pictures": list(map(str, pictures))}
    say(said, files.written(pictures), options.json)
    return 0


def _show_plan(rows: Sequence[Published], folder: Path, num_seeds: int, as_json: bool) -> int:
    """Prints what a run would do if all data sets were there, and which rows it would leave out now."""
    not_run = why_not_run(rows)
    steps = plan([row for row in rows if not row.same_as], folder, num_seeds)
    if as_json:
        print(json.dumps(plan_facts(steps) | {"folder": str(folder), "not_run": not_run}, indent=2))
        return 0
    print(work_line(steps, folder))
    facts = plan_facts(steps)["steps"]
    cells = [
        Row((step["name"], str(step["seed"]), *(step[key] or MISSING for key in ("trained_in", "teacher", "found_in"))))
        for step in facts
    ]
    heads = ("network", "seed", "trained in", "teacher", "architecture of")
    terminal().print(as_rich(Table(heads, tuple(cells))))
    for reason in dict.fromkeys(not_run.values()):
        names = [name for name, other in not_run.items() if other == reason]
        print(f"not run now: {len(names)} row{'s' * (len(names) != 1)}, as {names[0]}: {reason}")
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

    def given(recipe: Recipe) -> tuple[Recipe, CommonOptions]:
        data = recipe.data if ours.data is None else replace(recipe.data, root=ours.data)
        return parse_recipe_args(replace(recipe, data=data), arguments, prog, "")

    asked = [
        replace(
            row,
            recipe=given(row.recipe)[0],
            members=tuple(given(member)[0] for member in row.members),
            found_by=row.found_by and given(row.found_by)[0],
        )
        for row in wanted
    ]
    return _without_twins(wanted, asked), given(wanted[0].recipe)[1]


def _without_twins(before: Sequence[Published], asked: Sequence[Published]) -> list[Published]:
    """The rows, with a note on each that the command line has made equal to an earlier one: its name would lie."""
    marked: list[Published] = []
    for row, own in zip(before, asked, strict=True):
        twins = (
            other.name
            for other, its in zip(before, marked, strict=False)
            if not its.same_as and its.is_same_run(own) and not other.is_same_run(row)
        )
        marked.append(replace(own, same_as=next(twins, "")))
    return marked
