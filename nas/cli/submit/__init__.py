"""`nas submit COMMAND...`: starts workers of a study here in the background, on SLURM, or on Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

from nas.cli.files import say
from nas.cli.flags import pop_options
from nas.cli.parse import parse
from nas.cli.submit.submission import Submission
from nas.errors import named

WORDS = {word: f"nas.cli.{word}" for word in ("search", "tune", "ablate", "tabulate", "reproduce")}
"""The commands whose trials several workers can share, by the module of each, which has `folder_of`."""
NOT_SHARED = ("--overwrite", "--plan", "--dashboard", "--work-only")
FLAGS = ("--engine", "--nodes", "--workers", "--gpus", "--cpus", "--hours", "--partition", "--address")
STARTS = {"local": "nas.cli.submit.on_submitit:start", "slurm": "nas.cli.submit.on_submitit:start"}
STARTS |= {"ray": "nas.cli.submit.on_ray:start"}
"""What starts the workers of each engine."""
STOPS = {"local": "`kill -INT ID`", "slurm": "`scancel ID`", "ray": "`kill PID` on its node"}
PROG = "nas submit COMMAND ..."
USAGE = """usage: nas submit COMMAND ... [--engine local|slurm|ray] [--nodes N] [--workers N] [--gpus N] [--cpus N]
                  [--hours H] [--partition NAME] [--address auto|HOST:PORT] [--json]

Starts workers of `nas search`, `nas tune`, `nas ablate`, `nas tabulate` or `nas reproduce`: each is a job that takes
part in the same study, and goes on when this command has ended. The same command again adds as many. A job that SLURM
preempts, or that runs out of time, is queued again; Ray starts a worker again whose process or machine dies. `nas show`
says how far the study is.

Example: nas submit tune fast_reid --data.root data --engine slurm --nodes 4 --gpus 1 --hours 24
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `nas submit ARGUMENTS`; the exit status. Raises ValueError for what cannot be started."""
    asked, command = pop_options(FLAGS, [word for word in arguments if word != "--json"])
    if not command or command[0].startswith("-"):
        if {"-h", "--help"} & set(command):
            parse(Submission, ["--help"], prog=PROG, description=USAGE.partition("\n\n")[2])
        print(USAGE)
        return 2
    flags = [word for pair in asked.items() for word in pair]
    given: Submission = parse(Submission, flags, prog=PROG)
    folder = _checked(command)
    ids, logs = resolve_name(STARTS[given.engine])(given, command, folder)
    if "--json" not in arguments:
        print(
            f"{len(ids)} worker{'s' * (len(ids) != 1)} of `nas {command[0]}` ({given.engine}): {' '.join(ids)}\n"
            f"Once they have begun, `nas show {folder}` says how far they are; {STOPS[given.engine]} stops one, and "
            "the same command adds as many."
        )
        if given.engine != "slurm" and not given.gpus:
            print("They see no GPU: --gpus N has N workers with one each.")
    said = {"jobs": ids, "engine": given.engine, "run": str(folder), "logs": str(logs)}
    say(said, [("logs", logs)], "--json" in arguments)
    return 0


def _checked(command: Sequence[str]) -> Path:
    """The folder of the study. Raises ValueError for a command that several workers cannot share, or that would be
    refused."""
    word, *rest = command
    module = named("command of trials", word, WORDS)
    for flag in NOT_SHARED:
        if any(each.partition("=")[0] == flag for each in rest):
            raise ValueError(f"{flag} is not for workers that share a study: leave it out, or give `nas {word}` alone")
    if not rest or {"-h", "--help"} & set(rest):
        raise ValueError(f"`nas {word}` needs to know what to work at: `nas {word} --help` says how it is given")
    return resolve_name(f"{module}:folder_of")(rest)
