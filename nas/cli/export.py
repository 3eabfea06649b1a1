"""`nas export RUN`: writes the retrained student as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nas.cli.run_command import EntryOptions, run_command
from nas.run import Run
from nas.stages.export import export


@dataclass(frozen=True)
class ExportOptions(EntryOptions):
    """The options of `nas export`."""

    out: Annotated[Path | None, tyro.conf.arg(help="the file; by default student.onnx in the run's folder")] = None


def main(arguments: list[str]) -> int:
    """Runs `nas export ARGUMENTS`; the exit status."""
    return run_command("export", arguments, _export, ExportOptions)


def _export(run: Run, options: ExportOptions) -> dict[str, Any]:
    written = export(run, options.out, options.overwrite)
    if not options.json:
        said = ", ".join(written["outputs"])
        print(f"opset {written['opset']}, {said} within {written['largest_difference']:.1e} of the network's")
    return {"run": str(run.folder)} | written
