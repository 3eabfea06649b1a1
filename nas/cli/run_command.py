"""What the commands that work on a run have in common: its recipe, its folder, and what they say afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from nas.cli.arguments import OVERWRITE, Options, parse_recipe_args
from nas.cli.commands import COMMANDS
from nas.cli.default_folder import default_folder
from nas.cli.files import Files, say
from nas.cli.find_recipe import recipe_named, recipes
from nas.errors import near_misses
from nas.recipe import Recipe
from nas.run import STAGES_OF, Run
from nas.stages.search_entry import entry_run
from nas.training.track import tracked
from search_spaces.ranges import Name

OUT_OF_RUN = ("evaluate", "export")
"""Commands that may leave what they make of a run elsewhere."""


@dataclass(frozen=True)
class RunOptions(Options):
    """The options of a command that works on a run."""

    track: Annotated[Name, tyro.conf.arg(help="tell wandb or mlflow, too, what TensorBoard is told; none: neither")] = (
        "none"
    )


@dataclass(frozen=True)
class EntryOptions(RunOptions):
    """The options of a command that can work on one of the architectures that a search has found."""

    entry: Annotated[
        str,
        tyro.conf.arg(
            help="an architecture that the search found, to work on in RUN/entry-N: N of the ranked list (1 is the "
            "best), or front:N of the front; `nas show` lists them"
        ),
    ] = ""


Given = TypeVar("Given", bound=RunOptions)


def run_command(
    word: str,
    arguments: list[str],
    work: Callable[[Run, Given], dict[str, Any]],
    options: type[Given] = RunOptions,  # type: ignore[assignment] # without it, `work` takes RunOptions
) -> int:
    """Runs `nas WORD SUBJECT [--field value ...]`: `work` gets the run and the command's options, and returns what is
    said of it. Texts in it, and what `pictures` lists, are paths."""
    run, given = asked_run(word, arguments, options)
    if word in STAGES_OF:
        run.recipe.machine.check()
    if isinstance(given, EntryOptions) and given.entry:
        run = entry_run(run, given.entry, given.overwrite)
    files = Files(run.folder)
    speaks = run.recipe.machine.is_first  # of processes that share their steps
    with nullcontext() if speaks else redirect_stdout(StringIO()):
        with tracked(given.track if speaks else "none", run.folder):
            said = work(run, given)
        texts = [value for value in said.values() if isinstance(value, str)]
        say(said, files.written(map(Path, [*texts, *said.get("pictures", ())])), given.json)
    return 0


def asked_run(word: str, arguments: Sequence[str], options: type[Given]) -> tuple[Run, Given]:
    """The run that `nas WORD ARGUMENTS` works on, as the command line changes it, and the command's options."""
    subject, *rest = arguments
    command = COMMANDS[word]
    takes_run = command.subject == "RUN" or (command.subject != "RECIPE" and Path(subject).is_dir())
    if not takes_run and (Path(subject) / "config.json").is_file():
        raise ValueError(
            f"`nas {word}` takes a recipe, and {subject} is the folder of a run: `nas {word} "
            f"{Run.open(Path(subject)).name} --out {subject}` works in it"
        )
    run = Run.open(Path(subject)) if takes_run else None
    name, recipe = (run.name, run.recipe) if run else recipe_named(subject)
    about = f"{command.help}\n\nExample: {command.example}"
    changed, given = parse_recipe_args(recipe, rest, f"nas {word} {subject}", about, options)
    if run and given.out and word not in OUT_OF_RUN:
        raise ValueError(f"`nas {word}` works in the run's folder {subject}: leave --out out")
    folder = run.folder if run else given.out or default_folder(name, recipe, changed, given)
    check_restarted(word, given.restarted)
    return Run(folder, name, changed, word, _published(name) if run else recipe), given


def _published(name: str) -> Recipe | None:
    """The toolkit's recipe of this name, if it has one; a run of somebody's own recipe knows only its name."""
    return recipe_named(name)[1] if name in recipes() else None


def check_restarted(word: str, named: Collection[str]) -> None:
    """Raises ValueError for a stage behind `--overwrite` that `nas WORD` does not do, with near misses."""
    stages = STAGES_OF.get(word, ())
    for name in named:
        if name not in stages:
            takes = f"takes the stages of `nas {word}`, {', '.join(stages)}" if stages else "stands alone here"
            raise ValueError(f"{OVERWRITE} {takes}, not {name!r}{near_misses(name, stages)}")
