"""`nas runs [FOLDER]`: every run and study below a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.files import openable
from nas.cli.parse import parse
from nas.errors import CONTROL
from nas.report.runs import check_index, count, runs_table, write_index
from nas.report.table import as_rich, terminal
from nas.stages.list_runs import list_runs
from search_spaces.ranges import Ranged


@dataclass(frozen=True)
class Arguments(Ranged):
    """What `nas runs` takes."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = Path("runs/out")
    """Where runs lie, at any depth."""
    html: Path | None = None
    """File that an index page is written into, with links to the runs' reports."""
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False


def main(arguments: list[str]) -> int:
    """Runs `nas runs ARGUMENTS`; the exit status. Raises ValueError for what is no folder."""
    given = parse(
        Arguments,
        arguments,
        prog="nas runs",
        description=(
            "Every run and study below a folder, the one last worked at first, with its state, the student's mAP (%), "
            "MACs and milliseconds for an image.\n\nExample: nas runs runs/out"
        ),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if given.html:
        check_index(given.html)
    rows = list_runs(given.folder)
    page = write_index(given.html, rows, given.folder) if given.html else None
    if given.json:
        print(json.dumps({"runs": rows, **({"html": openable(page)} if page else {})}, indent=2))
        return 0
    if rows:
        terminal(highlight=False, markup=False).print(as_rich(runs_table(rows, given.folder)))
    print(f"{count(rows)}, below {given.folder}")
    for row in rows:
        if row["why"]:
            print(CONTROL.sub("", f"{row['run']} {row['state']}: {row['why']}"))
    if page:
        print(f"index page: {openable(page)}")
    return 0
