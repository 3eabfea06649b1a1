"""`nas pretrain RUN`: pretrains the backbone of the student."""

from __future__ import annotations

from nas.cli.arguments import Options
from nas.cli.run_command import run_command
from nas.run import Run
from nas.stages.pretrain import pretrain


def main(arguments: list[str]) -> int:
    """Runs `nas pretrain ARGUMENTS`; the exit status."""
    return run_command("pretrain", arguments, _pretrain)


def _pretrain(run: Run, options: Options) -> dict[str, str]:
    pretrain(run, options.again)
    return {"run": str(run.folder), "pretrained": str(run.folder / "pretrained.safetensors")}
