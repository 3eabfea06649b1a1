"""`nas completion SHELL`: a script that completes commands, their subjects, flags and names in bash and zsh."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from nas.bench import BENCHES
from nas.cli import compare, cost, data, features, find, match, reproduce, runs, serve, show, submit, tabulate, verify
from nas.cli.ablate import AblateOptions
from nas.cli.arguments import SHORT, Options
from nas.cli.bench import parameters
from nas.cli.commands import COMMANDS
from nas.cli.export import ExportOptions
from nas.cli.find_recipe import recipes
from nas.cli.parse import ALL, flag
from nas.cli.parts import NONE, PARTS
from nas.cli.run_command import EntryOptions, RunOptions
from nas.cli.search import SearchOptions
from nas.cli.short_help import FIELDS
from nas.cli.tune import SHORT as SHORT_OF_TUNE
from nas.cli.tune import Dashboard, TuneOptions
from nas.data.sets import SETS
from nas.errors import PLUGIN, near_misses
from nas.losses import LOSSES
from nas.strategies import STRATEGIES
from nas.study.spaces import SPACES
from runs.tables import PAPERS
from students.named import STUDENTS

SHELLS = ("bash", "zsh")
USAGE = """usage: nas completion bash|zsh

Prints the script that completes commands, recipes, flags and names with the Tab key in new shells. In zsh, write it to
a file that ~/.zshrc sources.

Example: nas completion bash > ~/.local/share/bash-completion/completions/nas"""
SCRIPT = Path(__file__).with_name("completion.bash")
LISTS = "# LISTS"
"""The line of the script that the lists replace."""
POSITIONAL = ("run", "runs", "folder", "restarted", "network", "images", "query", "first", "second", "frames")
"""Fields of options that are no flags."""
OF_RECIPES = (*PARTS, "--on", *map(flag, FIELDS), ALL)
"""The flags of every command that takes the fields of a recipe, beside its own."""

OPTIONS: dict[str, type] = {
    **dict.fromkeys(("teach", "pretrain", "evaluate", "report", "run"), RunOptions),
    "search": SearchOptions,
    "retrain": EntryOptions,
    "draw": EntryOptions,
    "export": ExportOptions,
    "tune": TuneOptions,
    "ablate": AblateOptions,
    "tabulate": tabulate.TabulateOptions,
    "reproduce": reproduce.Options,
    "submit": submit.Submission,
    "data": data.Options,
    "cost": cost.Options,
    "show": show.Arguments,
    "runs": runs.Arguments,
    "serve": serve.Arguments,
    "compare": compare.Arguments,
    "features": features.Arguments,
    "find": find.Arguments,
    "verify": verify.Arguments,
    "match": match.Arguments,
}
"""What commands take beside the fields of a recipe, where that is more or other than `Options`."""


def main(arguments: list[str]) -> int:
    """Runs `nas completion ARGUMENTS`; the exit status. Raises ValueError for another shell."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in SHELLS:
        raise ValueError(
            f"`nas completion` knows {' and '.join(SHELLS)}, not {arguments[0]!r}{near_misses(arguments[0], SHELLS)}"
        )
    print(script())
    return 0


def script() -> str:
    """The script, the same for both shells."""
    lists = (
        f"_nas_commands={_quoted(COMMANDS)}",
        _function("_nas_flags", {word: flags(word) for word in COMMANDS}),
        _function("_nas_subjects", subjects()),
        _function("_nas_values", values()),
    )
    return SCRIPT.read_text(encoding="utf-8").replace(LISTS, "\n\n".join(lists))


def flags(word: str) -> list[str]:
    """The flags of `nas WORD`: its own, and those of the fields that people set where it takes a recipe's."""
    fields = dataclasses.fields(OPTIONS.get(word, Options))
    own = [flag(field.name) for field in fields if field.name not in POSITIONAL]
    if word == "bench":
        own = [flag(field.name) for bench in BENCHES.values() for field in dataclasses.fields(parameters(bench))]
    if word == "tune":
        own += [*map(flag, (field.name for field in dataclasses.fields(Dashboard))), *SHORT_OF_TUNE]
    if COMMANDS[word].sets_fields or word in ("tune", "ablate", "tabulate", "reproduce"):
        own += [*SHORT, *OF_RECIPES]
    if word in ("recipes", "completion"):
        own = ["--json"] * (word == "recipes")
    return sorted({*own, PLUGIN, "--help"})


def subjects() -> dict[str, Iterable[str]]:
    """By command, or by its first two words, what may stand behind them beside files and folders."""
    takes_recipe = [word for word, command in COMMANDS.items() if "RECIPE" in command.subject]
    return dict.fromkeys([*takes_recipe, "evaluate"], recipes()) | {
        "cost": [*STUDENTS, *recipes()],
        "submit": submit.WORDS,
        "data": ["check"],
        "data check": SETS,
        "reproduce": PAPERS,
        "bench": BENCHES,
        "completion": SHELLS,
        **{f"reproduce {paper}": tables for paper, tables in PAPERS.items()},
    }


def values() -> dict[str, Iterable[str]]:
    """What may stand behind flags that take names."""
    networks = [*STUDENTS, NONE]
    return {
        "--on": SETS,
        "--strategy": [*STRATEGIES, NONE],
        "--loss": LOSSES,
        "--retrain-loss": [*LOSSES, NONE],
        "--teacher": networks,
        "--space": STUDENTS,
        "--student": networks,
        "--baseline": networks,
        "--parameters": SPACES,
    }


def _function(name: str, lists: Mapping[str, Iterable[str]]) -> str:
    """A function of the shell that prints the list of its argument, and fails where there is none."""
    cases = [f"    {shlex.quote(key)}) echo {_quoted(words)} ;;" for key, words in lists.items()]
    return "\n".join([f"{name}() {{", "  case $1 in", *cases, "    *) return 1 ;;", "  esac", "}"])


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))
