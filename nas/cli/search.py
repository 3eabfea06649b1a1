"""`nas search RECIPE|RUN`: searches an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nas.cli.draw import show_architecture
from nas.cli.run_command import RunOptions, asked_run, run_command
from nas.run import Run
from nas.stages.search import check_search, search
from nas.stages.search_result import BEST, FOUND
from nas.study.place import GRACE_S
from search_spaces.ranges import Positive, Processes


@dataclass(frozen=True)
class SearchOptions(RunOptions):
    """The options of `nas search`."""

    workers: Annotated[
        Processes, tyro.conf.arg(help="processes that share the trials of a strategy that tries whole architectures")
    ] = 1
    storage: Annotated[
        str,
        tyro.conf.arg(help="a file or a database's address for the trials; by default a journal in the run's folder"),
    ] = ""
    grace: Annotated[
        Positive,
        tyro.conf.arg(help="seconds of silence after which a worker on another machine counts as dead"),
    ] = GRACE_S


def main(arguments: list[str]) -> int:
    """Runs `nas search ARGUMENTS`; the exit status."""
    return run_command("search", arguments, _search, SearchOptions)


def folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the search that these arguments ask for. Raises ValueError when it has no trials to share."""
    run, _ = asked_run("search", arguments, SearchOptions)
    strategy = run.recipe.strategy
    if strategy is None or not strategy.by_trials:
        raise ValueError(
            "workers share the trials of a strategy that tries whole architectures, and this search has "
            f"{type(strategy).__name__ if strategy else 'none'}: give --strategy random or evolution, or share its "
            "steps with --machine.devices"
        )
    check_search(run.recipe)
    return run.folder


def _search(run: Run, options: SearchOptions) -> dict[str, Any]:
    search(run, options.again, options.workers, options.storage, options.grace)
    return show_architecture(run, options.json) | {"found": str(run.folder / BEST), "ranked": str(run.folder / FOUND)}
