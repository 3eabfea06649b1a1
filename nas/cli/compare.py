"""`nas compare`: evaluated networks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.files import Files, say
from nas.cli.parse import parse
from nas.report.ablation import contrasts_table
from nas.report.comparison import accuracy_table, difference_table, seed_lines
from nas.report.table import as_rich, terminal
from nas.report.timing import conditions_line
from nas.stages.compare import compare
from search_spaces.ranges import Count, Ranged, Seed

OUT = Path("runs/out")
LONGEST_FOLDER = 100


@dataclass(frozen=True)
class Arguments(Ranged):
    """What `nas compare` takes."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")]
    """Evaluated folders, the first is compared with; FOLDER:ROLE picks a row, FOLDER:ROLE+rerank the re-ranked one."""
    role: str = ""
    """The row of the runs without :ROLE, such as student, teacher or baseline; empty: the student's, or the only
    one."""
    all_rows: bool = False
    """Take every row of the runs without :ROLE."""
    resamples: Count = 2000
    """Bootstrap samples of the queries, from which the intervals come."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    out: Path | None = None
    """Folder of the results; by default runs/out/compare-RUN-RUN."""
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False


def main(arguments: Sequence[str]) -> int:
    """`nas compare RUN RUN ...`: prints the tables and where the pictures are, or JSON."""
    given = parse(
        Arguments,
        arguments,
        prog="nas compare",
        description=(
            "Accuracy and cost side by side.\n\nExample: nas compare runs/out/kdas-seed0 runs/out/kdas-seed0:teacher"
        ),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    out = given.out or default_folder(given.runs)
    files = Files(out)
    comparison = compare(
        given.runs, role=given.role, all_rows=given.all_rows, resamples=given.resamples, seed=given.seed, out=out
    )
    if not given.json:
        console = terminal()
        over_seeds = [contrasts_table(comparison["paired"])] if comparison["paired"] else []
        for table in (accuracy_table(comparison), difference_table(comparison), *over_seeds):
            console.print(as_rich(table))
        lines = [*seed_lines(comparison["seeds"]), conditions_line(comparison["rows"]), *comparison["notes"]]
        print("".join(f"{line}\n" for line in lines if line), end="")
    say(comparison, files.written(), given.json)
    return 0


def default_folder(subjects: Sequence[str]) -> Path:
    """`runs/out/compare-a-b-teacher` for `runs/out/a` and `elsewhere/b:teacher`."""
    names = "-".join(Path(subject).absolute().name for subject in subjects)
    return OUT / f"compare-{names}"[:LONGEST_FOLDER].replace(":", "-")
