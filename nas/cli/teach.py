"""`nas teach RECIPE`: trains the teacher."""

from __future__ import annotations

from nas.cli.arguments import Options
from nas.cli.run_command import run_command
from nas.run import Run
from nas.stages.teach import teach


def main(arguments: list[str]) -> int:
    """Runs `nas teach ARGUMENTS`; the exit status."""
    return run_command("teach", arguments, _teach)


def _teach(run: Run, options: Options) -> dict[str, str]:
    teach(run, options.again)
    return {"run": str(run.folder), "teacher": str(run.folder / "teacher.safetensors")}
