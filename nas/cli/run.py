"""`nas run RECIPE`: all stages, from teacher to report."""

from __future__ import annotations

from nas.cli.evaluate import show_metrics
from nas.cli.run_command import run_command
from nas.stages.run import run_all


def main(arguments: list[str]) -> int:
    """Runs `nas run ARGUMENTS`; the exit status."""
    return run_command(
        "run",
        arguments,
        lambda run, options: (
            show_metrics(run.folder, run_all(run, options.again), options.json)
            | {"report": str(run.folder / "report.html")}
        ),
    )
