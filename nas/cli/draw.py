"""`nas draw RUN`: draws the cells."""

from __future__ import annotations

from typing import Any

from nas.cli.run_command import EntryOptions, run_command
from nas.report.cell_graphs import as_text
from nas.run import Run
from nas.stages.report import architecture, draw_architecture


def main(arguments: list[str]) -> int:
    """Runs `nas draw ARGUMENTS`; the exit status."""
    return run_command("draw", arguments, _draw, EntryOptions)


def _draw(run: Run, options: EntryOptions) -> dict[str, Any]:
    pictures = draw_architecture(run)
    return show_architecture(run, options.json) | {"pictures": [str(path) for path in pictures]}


def show_architecture(run: Run, as_json: bool) -> dict[str, Any]:
    """Prints the run's architecture, unless JSON is wanted; what is to be said of it."""
    found = architecture(run)
    if not as_json:
        print(as_text(found))
    return {"run": str(run.folder), "architecture": found}
