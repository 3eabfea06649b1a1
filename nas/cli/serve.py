"""`nas serve RUN|FOLDER`: pages that follow runs while they are worked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.parse import parse
from search_spaces.ranges import Range, Ranged


@dataclass(frozen=True)
class Arguments(Ranged):
    """What `nas serve` takes."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FOLDER")] = Path("runs/out")
    """A run, a study, or a folder with many of them."""
    port: Annotated[int, Range(least=0, most=65_535)] = 0
    """Port of this machine; 0: any that is free."""
    open: Annotated[bool, tyro.conf.arg(help="open the page in the browser")] = False


def main(arguments: list[str]) -> int:
    """Runs `nas serve ARGUMENTS` until Ctrl-C; the exit status. Raises ValueError for what is no folder."""
    given = parse(
        Arguments,
        arguments,
        prog="nas serve",
        description=(
            "Pages on this machine that follow runs and studies while they are worked at: losses, alphas, trials, time "
            "left, log. They change nothing, and Ctrl-C ends them.\n\nExample: nas serve runs/out/demo-seed0 --open"
        ),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    from nas.stages.serve import serve  # a server, and what draws

    serve(given.folder, given.port, lambda address: _say(address, given))
    return 0


def _say(address: str, given: Arguments) -> None:
    print(f"{given.folder}: {address} until Ctrl-C", flush=True)
    if given.open:
        import webbrowser

        webbrowser.open(address)
