"""`nas tabulate RECIPE... --architectures N|all`: many architectures of one space under each arm, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.arms import ARMS, parse_arms, place_of, pop_arms, read_arms, words_of
from nas.cli.files import Files, say
from nas.cli.workers import StudyOptions, work_at_study
from nas.report.architecture_table import ALL, arms_table, pairs_table, remarks
from nas.report.numbers import multiply_adds
from nas.report.table import as_rich, terminal
from nas.stages.sampled_students import Band
from nas.stages.tabulate import TableDesign, Tabulation
from nas.study.place import Place
from nas.study.storage import reached
from search_spaces.ranges import Count, Name, OutOfRange, Positive, PositiveShare

SEEDS = 2
WITHIN = 0.05
EXAMPLE = "nas tabulate evidence_falling --arms runs/studies/ranking.json --architectures 50 --data.root data"
USAGE = f"""usage: nas tabulate RECIPE ... [--architectures N|all] [--multiply-adds MACS [--within SHARE]] [--seeds N]
                    [--arms FILE] [--workers N] [--plan] [--field value ...] [--out DIR] [--json]

Trains architectures of the recipe's space from scratch, each under every arm and with the same seeds, into table.json:
accuracy, loss by epoch, MACs and milliseconds. It says how far architectures differ and how far seeds do, and whether
the arms put the architectures into the same order. `nas bench strategies --tables DIR` searches in the table.

The architectures are drawn by chance, without repetition, by the recipe's seed; --architectures all takes all of a
small space. The same command goes on where a stopped one was, and joins one that others work at; a larger N adds to the
table. What has ended is a valid, smaller table at any time.

Each recipe is an arm, or --arms names a file of arms, as `nas ablate` takes it; an arm that begins with a flag is the
RECIPE with these flags:
{{"format": 1, "seeds": 2, "arms": {{"labels": "--teacher None", "falling": "--retrain-loss None"}}}}

Example: {EXAMPLE}
"""


@dataclass(frozen=True)
class TabulateOptions(StudyOptions):
    """What the command takes beside the fields of its recipes."""

    architectures: Annotated[
        Name, tyro.conf.arg(help="how many architectures are drawn; or all, for those of the whole space")
    ] = "50"
    multiply_adds: Annotated[
        Positive | None, tyro.conf.arg(help="only architectures of about so many; without it, of any number")
    ] = None
    within: Annotated[
        PositiveShare | None,
        tyro.conf.arg(help=f"how far they may be from --multiply-adds, as a share of these; by default {WITHIN}"),
    ] = None
    seeds: Annotated[
        Count | None, tyro.conf.arg(help=f"runs of each architecture and arm; by default the file's, or {SEEDS}")
    ] = None
    plan: Annotated[bool, tyro.conf.arg(help="only say what would be trained")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architectures != ALL and not (self.architectures.isdecimal() and int(self.architectures)):
            raise OutOfRange("architectures", "be a whole number from 1 on, or all", self.architectures)
        if self.within and not self.multiply_adds:
            raise ValueError("--within is how far from --multiply-adds: give that, too, or leave --within out")

    @property
    def num_architectures(self) -> int | None:
        """None: all."""
        return None if self.architectures == ALL else int(self.architectures)

    @property
    def band(self) -> Band | None:
        return Band(multiply_adds=self.multiply_adds, within=self.within or WITHIN) if self.multiply_adds else None


def main(arguments: Sequence[str]) -> int:
    """Runs `nas tabulate ARGUMENTS`; the exit status. Raises ValueError for what cannot be tabulated."""
    names, file, _ = pop_arms(arguments)
    if not names and not file:
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    design, options, place = _asked(arguments)
    if options.plan:
        return _show_plan(design, place.folder, options.json)
    tabulation = Tabulation(design, place)
    if options.work_only:
        tabulation.work()
        return 0
    return _tabulate(tabulation, options, list(arguments))


def folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the study that these arguments ask for. Raises ValueError for what cannot be tabulated."""
    return _asked(arguments)[-1].folder


def _asked(arguments: Sequence[str]) -> tuple[TableDesign, TabulateOptions, Place]:
    """What the table is of, the options, and where the study is."""
    names, path, common = pop_arms(arguments)
    file = read_arms(path) if path else None
    words = _with_recipe(file.words, names) if file else words_of(names)
    if file and file.contrasts:
        raise ValueError(f"{path}: a table compares every two arms: leave the contrasts out")
    about = f"train many architectures of one space under each arm, as a table\n\nExample: {EXAMPLE}"
    arms, options = parse_arms(words, common, "tabulate", about, TabulateOptions)
    design = TableDesign(
        arms=arms,
        seeds=options.seeds or (file and file.seeds) or SEEDS,
        architectures=options.num_architectures,
        band=options.band,
    )
    return design, options, place_of("tabulate", path, arms, options)


def _with_recipe(words: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, list[str]]:
    """The arms of a file, those that begin with a flag behind the recipe that the command line names."""
    flags = [name for name, arm in words.items() if arm[0].startswith("-")]
    if len(names) > 1 or (names and not flags):
        raise ValueError(
            f"arms are recipes or a file, not both: leave out {ARMS}, or {' '.join(names[len(flags) > 0 :])}"
        )
    if flags and not names:
        raise ValueError(f"the arm {flags[0]!r} has no recipe: name one behind `nas tabulate`, or in the arm")
    return {name: [*names, *arm] if name in flags else [*arm] for name, arm in words.items()}


def _show_plan(design: TableDesign, folder: Path, as_json: bool) -> int:
    """Says what would be trained, and trains nothing."""
    students = design.students()
    num_runs = len(students) * design.seeds * len(design.arms)
    if as_json:
        facts = [
            {"hash": each.architecture.hash, "multiply_adds": each.multiply_adds, "parameters": each.parameters}
            for each in students
        ]
        print(json.dumps({"folder": str(folder), "runs": num_runs, "architectures": facts}, indent=2))
        return 0
    macs = [each.multiply_adds for each in students]
    least, most = multiply_adds.column([min(macs), max(macs)])
    arms = ", ".join(arm.name for arm in design.arms)
    print(
        f"{num_runs} runs in {folder}: {len(students)} architectures of {least} to {most} MACs, each with the seeds "
        f"{', '.join(map(str, design.seed_numbers))} under {arms}."
    )
    return 0


def _tabulate(tabulation: Tabulation, options: TabulateOptions, arguments: list[str]) -> int:
    folder = tabulation.place.folder
    files, threads = Files(folder), tabulation.design.arms[0].recipe.machine.threads
    try:
        with tabulation.telling(tabulation.write_now_and_then):
            work_at_study(
                "tabulate", tabulation.work, main, arguments, options.workers, threads, folder, tabulation.engine
            )
    finally:  # what has ended is worth having, whatever ends the work
        with reached(tabulation.place.address):
            table = tabulation.result()
    if not options.json:
        console = terminal()
        console.print(as_rich(arms_table(table["summary"])))
        if table["summary"]["pairs"]:
            console.print(as_rich(pairs_table(table["summary"])))
        print("\n".join(remarks(table)))
    say(table, files.written(), options.json)
    return 0
