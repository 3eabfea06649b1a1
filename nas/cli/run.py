"""`nas run RECIPE`: all of it, from teacher to report."""

from __future__ import annotations

from typing import Any

from nas.cli.arguments import Options
from nas.cli.evaluate import show_metrics
from nas.cli.run_command import run_command
from nas.run import Run
from nas.stages.run import run_all


def main(arguments: list[str]) -> int:
    """Runs `nas run ARGUMENTS`; the exit status."""
    return run_command("run", arguments, _run)


def _run(run: Run, options: Options) -> dict[str, Any]:
    metrics = run_all(run, options.overwrite)
    return show_metrics(run.folder, metrics, options.json) | {"report": str(run.folder / "report.html")}
