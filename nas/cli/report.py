"""`nas report RUN`: writes report.html."""

from __future__ import annotations

from nas.cli.run_command import run_command
from nas.stages.report import report


def main(arguments: list[str]) -> int:
    """Runs `nas report ARGUMENTS`; the exit status."""
    return run_command("report", arguments, lambda run, options: {"run": str(run.folder), "report": str(report(run))})
