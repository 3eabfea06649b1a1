"""`nas report RUN`: writes report.html."""

from __future__ import annotations

from nas.cli.arguments import Options
from nas.cli.run_command import run_command
from nas.run import Run
from nas.stages.report import report


def main(arguments: list[str]) -> int:
    """Runs `nas report ARGUMENTS`; the exit status."""
    return run_command("report", arguments, _report)


def _report(run: Run, options: Options) -> dict[str, str]:
    return {"run": str(run.folder), "report": str(report(run))}
