"""The `nas` program: it finds the command, and imports nothing that another command needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

import nas
from nas.cli.commands import COMMANDS
from nas.cli.flags import pop_all
from nas.errors import PLUGIN, exit_status, near_misses
from nas.system.progress import begin_command, failure_noted


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a line that says what is wrong and how to mend it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    begin_command()
    return exit_status(lambda: _main(arguments))


@failure_noted()
def _main(arguments: list[str]) -> int:
    plugins, arguments = pop_all((PLUGIN,), arguments)
    for _, file in plugins:
        resolve_name("nas.system.plugins:load")(Path(file))
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    word, *rest = arguments
    if word == "--version":
        print(f"nas {nas.__version__}")
        return 0
    if word not in COMMANDS:
        raise ValueError(f"there is no command {word!r}{near_misses(word, COMMANDS)}; there are {', '.join(COMMANDS)}")
    if COMMANDS[word].sets_fields and (not rest or rest[0].startswith("-")):
        print(_usage(word))
        return 0 if rest and rest[0] in ("-h", "--help") else 2
    return resolve_name(f"nas.cli.{word.replace('-', '_')}:main")(rest)


def _overview() -> str:
    lines = [f"  nas {word:<15}{command.subject:<12}{command.help}" for word, command in COMMANDS.items()]
    return "\n".join(
        [
            "Finds small, fast re-identification networks.",
            "",
            *lines,
            "",
            "Examples:",
            *(f"  {command.example}" for command in COMMANDS.values()),
            "",
            "Every field of a recipe can be set: `nas run RECIPE --help` lists the usual ones, --help-all lists all.",
            "A recipe of your own: nas run path/to/file.py:function",
            f"Classes of your own, for any command: {PLUGIN} path/to/file.py",
        ]
    )


def _usage(word: str) -> str:
    command = COMMANDS[word]
    return (
        f"usage: nas {word} {command.subject} [--field value ...] [--out DIR] [--seed N] [--overwrite] [--json]\n\n"
        f"{command.help}\n\nExample: {command.example}\n"
        f"`nas {word} {command.subject} --help` lists the flags, `nas recipes` the recipes."
    )
