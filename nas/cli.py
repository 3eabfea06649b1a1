"""The `nas` program: each command is one call of the library."""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from nas import draw
from nas.checkpoint import SaveError
from nas.evaluate import evaluate
from nas.pipeline import architecture, draw_architecture, report, run_all
from nas.recipe import Recipe
from nas.recipes import recipe_named, recipes
from nas.report.table import as_rich, result_table
from nas.retrain import retrain
from nas.run import Run
from nas.search import search
from nas.stage import NonFiniteLoss
from nas.suggest import near_misses
from nas.teach import teach

OUT = Path("runs/out")


@dataclass(frozen=True)
class Options:
    """What every command takes beside a recipe's fields."""

    out: Path | None
    overwrite: bool
    json: bool


@dataclass(frozen=True)
class Command:
    """One word of the program: what it works on, what it does, and what it says afterwards."""

    subject: str
    help: str
    call: Callable[[Run, Options], Any]
    example: str


def _teach(run: Run, options: Options) -> dict:
    teach(run, options.overwrite)
    return {"run": str(run.folder), "teacher": str(run.folder / "teacher.safetensors")}


def _search(run: Run, options: Options) -> dict:
    search(run, options.overwrite)
    return _architecture(run, options)


def _architecture(run: Run, options: Options) -> dict:
    found = architecture(run)
    if not options.json:
        print(draw.as_text(found))
    return {"run": str(run.folder), "architecture": found}


def _retrain(run: Run, options: Options) -> dict:
    retrain(run, options.overwrite)
    return {"run": str(run.folder), "student": str(run.folder / "student.safetensors")}


def _evaluate(run: Run, options: Options) -> dict:
    return _results(run, options, evaluate(run))


def _run(run: Run, options: Options) -> dict:
    metrics = run_all(run, options.overwrite)
    return _results(run, options, metrics) | {"report": str(run.folder / "report.html")}


def _results(run: Run, options: Options, metrics: dict) -> dict:
    if not options.json:
        Console(width=None if sys.stdout.isatty() else 160).print(as_rich(result_table(metrics)))  # a file is not narrow
    return {"run": str(run.folder), "metrics": metrics}


def _draw(run: Run, options: Options) -> dict:
    pictures = draw_architecture(run)
    return _architecture(run, options) | {"pictures": [str(path) for path in pictures]}


def _report(run: Run, options: Options) -> dict:
    return {"run": str(run.folder), "report": str(report(run))}


COMMANDS = {
    "recipes": Command("", "what exists, one line each", lambda run, options: None, "nas recipes"),
    "teach": Command("RECIPE", "train the teacher", _teach, "nas teach kdas --data.root data"),
    "search": Command("RECIPE", "search an architecture", _search, "nas search kdas --teacher.weights t.safetensors"),
    "retrain": Command("RUN", "train the found student, and its rival", _retrain, "nas retrain runs/out/demo-seed0"),
    "evaluate": Command("RUN", "measure student, teacher and rival", _evaluate, "nas evaluate runs/out/demo-seed0"),
    "draw": Command("RUN", "draw the cells", _draw, "nas draw runs/out/demo-seed0"),
    "report": Command("RUN", "write report.html", _report, "nas report runs/out/demo-seed0"),
    "bench": Command("WHAT", "how fast we are, as ratios", lambda run, options: None, "nas bench search --json"),
    "run": Command("RECIPE", "all of it, from teacher to report", _run, "nas run demo --seed 1"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a line that says what is wrong and how to mend it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(arguments)
    except (ValueError, SaveError, NonFiniteLoss) as error:
        print(f"nas: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nas: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    word, *rest = arguments
    if word not in COMMANDS:
        raise ValueError(f"there is no command {word!r}{near_misses(word, COMMANDS)}; there are {', '.join(COMMANDS)}")
    if word == "recipes":
        return _list_recipes("--json" in rest)
    if word == "bench":
        return _bench(rest)
    command = COMMANDS[word]
    if not rest or rest[0].startswith("-"):
        print(_usage(word, command))
        return 0 if rest and rest[0] in ("-h", "--help") else 2
    run, options = _parse(word, command, rest[0], rest[1:])
    said = command.call(run, options)
    if options.json:
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(f"{key}: {value}" for key, value in said.items() if isinstance(value, str)))
    return 0


def _parse(word: str, command: Command, subject: str, arguments: list[str]) -> tuple[Run, Options]:
    """The run and the options that a command line means."""
    if command.subject == "RUN":
        run = Run.open(Path(subject))
        name, recipe = run.name, run.recipe
    else:
        name, recipe = recipe_named(subject)
    parser = _parser(recipe)
    given = tyro.cli(parser, args=arguments, prog=f"nas {word} {subject}", description=f"{command.help}\n\nExample: "
                     f"{command.example}", config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff))
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(recipe)}
    recipe = dataclasses.replace(recipe, **fields)
    options = Options(given.out, given.overwrite, given.json)
    if command.subject == "RUN":
        return Run(Path(subject), name, recipe), options
    return Run(options.out or OUT / f"{name}-seed{recipe.seed}", name, recipe), options


def _parser(recipe: Recipe) -> type:
    """A dataclass with the recipe's fields, each of the very class it has now, and the options."""
    hints = typing.get_type_hints(Recipe)
    fields = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        kind = type(value) if dataclasses.is_dataclass(value) else hints[field.name]
        fields.append((field.name, kind, dataclasses.field(default=value)))
    options = [("out", Path | None, None, "the run's folder; by default runs/out/RECIPE-seedN"),
               ("overwrite", bool, False, "start this command's stages again and replace their results"),
               ("json", bool, False, "print JSON alone on standard output")]
    fields += [(name, Annotated[kind, tyro.conf.arg(help=text)], dataclasses.field(default=default))
               for name, kind, default, text in options]
    return make_dataclass("Parser", fields)


def _list_recipes(as_json: bool) -> int:
    lines = {name: (function.__doc__ or "").strip().splitlines()[0] for name, function in recipes().items()}
    width = max(map(len, lines))
    print(json.dumps(lines, indent=2) if as_json else
          "\n".join(f"{name:<{width}}  {line}" for name, line in lines.items()))
    return 0


def _bench(arguments: list[str]) -> int:
    from nas.bench import BENCHES

    what, *rest = arguments or [""]
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json = "--json" in rest
    measured = tyro.cli(BENCHES[what], args=[word for word in rest if word != "--json"], prog=f"nas bench {what}")
    print(json.dumps(measured, indent=2) if as_json else
          "\n".join(f"{name:<24}" + "  ".join(f"{k} {v:.3g}" for k, v in row.items()) for name, row in measured.items()))
    return 0


def _overview() -> str:
    lines = [f"  nas {word:<9}{command.subject:<8}{command.help}" for word, command in COMMANDS.items()]
    return "\n".join(["Finds small, fast re-identification networks.", "", *lines, "", "Examples:",
                      *(f"  {command.example}" for command in COMMANDS.values()), "",
                      "Every field of a recipe can be set: `nas run RECIPE --help` lists them.",
                      "A recipe of your own: nas run path/to/file.py:function"])


def _usage(word: str, command: Command) -> str:
    return (f"usage: nas {word} {command.subject} [--field value ...] [--out DIR] [--seed N] [--overwrite] [--json]\n\n"
            f"{command.help}\n\nExample: {command.example}\n"
            f"`nas {word} {command.subject} --help` lists every field, `nas recipes` the recipes.")


if __name__ == "__main__":
    sys.exit(main())
