"""What the commands that work on a run have in common: its recipe, its folder, and what they say afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from nas.cli.arguments import OUT, Options, parse_recipe_args
from nas.cli.commands import COMMANDS
from nas.cli.files import Files, say
from nas.cli.find_recipe import recipe_named
from nas.run import Run
from nas.stages.search_entry import entry_run


@dataclass(frozen=True)
class EntryOptions(Options):
    """The options of a command that can work on one of the architectures that a search has found."""

    entry: Annotated[
        str,
        tyro.conf.arg(
            help="of what the search found, in RUN/entry-N: N of the ranked list (1 is the "
            "best), or front:N of the front; `nas show` lists them"
        ),
    ] = ""


Given = TypeVar("Given", bound=Options)


def run_command(
    word: str,
    arguments: list[str],
    work: Callable[[Run, Given], dict[str, Any]],
    options: type[Given] = Options,  # type: ignore[assignment] # without it, `work` takes Options
) -> int:
    """Runs `nas WORD SUBJECT [--field value ...]`: `work` gets the run and the command's options, and returns what is
    said of it. Texts in it, and what `pictures` lists, are paths."""
    subject, *rest = arguments
    command = COMMANDS[word]
    takes_run = command.subject == "RUN" or (command.subject != "RECIPE" and Path(subject).is_dir())
    run = Run.open(Path(subject)) if takes_run else None
    name, recipe = (run.name, run.recipe) if run else recipe_named(subject)
    about = f"{command.help}\n\nExample: {command.example}"
    recipe, given = parse_recipe_args(recipe, rest, f"nas {word} {subject}", about, options)
    folder = run.folder if run else given.out or OUT / f"{name}{'-small' * given.small}-seed{recipe.seed}"
    run = Run(folder, name, recipe)
    if isinstance(given, EntryOptions) and given.entry:
        run = entry_run(run, given.entry, given.overwrite)
    files = Files(run.folder)
    said = work(run, given)
    texts = [value for value in said.values() if isinstance(value, str)]
    say(said, files.written(map(Path, [*texts, *said.get("pictures", ())])), given.json)
    return 0
