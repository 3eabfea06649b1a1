"""`nas retrain RUN`: trains the found student and the baseline."""

from __future__ import annotations

from nas.cli.run_command import EntryOptions, run_command
from nas.run import Run
from nas.stages.retrain import retrain


def main(arguments: list[str]) -> int:
    """Runs `nas retrain ARGUMENTS`; the exit status."""
    return run_command("retrain", arguments, _retrain, EntryOptions)


def _retrain(run: Run, options: EntryOptions) -> dict[str, str]:
    retrain(run, options.again)
    return {"run": str(run.folder), "student": str(run.folder / "student.safetensors")}
