"""`nas evaluate SUBJECT`: measures a run, a recipe's teacher, any network, or saved features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.cli.arguments import OUT, Options, is_other, parse_network_args
from nas.cli.files import Files, say
from nas.cli.run_command import run_command
from nas.report.metrics import verification_lines
from nas.report.page import write_report
from nas.report.table import as_rich, result_table, terminal
from nas.report.timing import conditions_line
from nas.run import Run
from nas.stages.evaluate import evaluate, evaluate_other
from nas.system.progress import timed


def main(arguments: list[str]) -> int:
    """Runs `nas evaluate ARGUMENTS`; the exit status."""
    if not is_other(arguments[0]):
        return run_command("evaluate", arguments, _evaluate)
    other, options = parse_network_args(arguments[0], arguments[1:])
    folder = options.out or OUT / other.folder_name
    files = Files(folder)
    said = show_metrics(folder, evaluate_other(other, folder, options.overwrite), options.json)
    with timed("report", folder):
        report = write_report(folder)
    say(said | {"report": str(report)}, files.written([report]), options.json)
    return 0


def _evaluate(run: Run, options: Options) -> dict[str, Any]:
    folder = options.out or run.folder
    said = show_metrics(folder, evaluate(run, options.overwrite, options.out), options.json)
    return said if folder == run.folder else said | {"report": str(write_report(folder))}


def show_metrics(folder: Path, metrics: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Prints the table of results, unless JSON is wanted; what is to be said of them."""
    if not as_json:
        terminal().print(as_rich(result_table(metrics)))
        lines = [conditions_line(metrics["rows"]), *verification_lines(metrics)]
        print("".join(f"{line}\n" for line in lines if line), end="")
    return {"run": str(folder), "metrics": metrics}
