"""The `nas` program: each command is one call of the library."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from nas.cli.arguments import Options, is_other, parse_network_args, parse_recipe_args
from nas.cli.find_recipe import recipe_named, recipes
from nas.errors import NonFiniteLoss, SaveError, near_misses
from nas.report import cells as draw
from nas.report import write_report
from nas.report.table import as_rich, result_table
from nas.run import Run
from nas.stages.evaluate import evaluate, evaluate_other
from nas.stages.export import export
from nas.stages.report import architecture, draw_architecture, report
from nas.stages.retrain import retrain
from nas.stages.run import run_all
from nas.stages.search import search
from nas.stages.search_result import entry_run
from nas.stages.teach import teach

OUT = Path("runs/out")


@dataclass(frozen=True)
class OfEntry(Options):
    """The options of a command that can work on one of the architectures that a search has found."""

    entry: Annotated[
        str,
        tyro.conf.arg(
            help="of what the search found, in RUN/entry-N: N of the ranked list (1 is the "
            "best), or front:N of the front; `nas show` lists them"
        ),
    ] = ""


@dataclass(frozen=True)
class OfSearch(Options):
    """The options of `nas search`."""

    workers: Annotated[
        int, tyro.conf.arg(help="processes that share the trials of a strategy that tries whole architectures")
    ] = 1


@dataclass(frozen=True)
class OfExport(OfEntry):
    """The options of `nas export`."""

    out: Annotated[Path | None, tyro.conf.arg(help="the file; by default student.onnx in the run's folder")] = None


@dataclass(frozen=True)
class Command:
    """One word of the program: what it works on, what it does, and what it says afterwards."""

    subject: str
    help: str
    call: Callable[[Run, Options], Any]
    example: str
    options: type[Options] = Options


def _teach(run: Run, options: Options) -> dict:
    teach(run, options.overwrite)
    return {"run": str(run.folder), "teacher": str(run.folder / "teacher.safetensors")}


def _search(run: Run, options: OfSearch) -> dict:
    search(run, options.overwrite, options.workers)
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
    return _results(run.folder, options, evaluate(run))


def _run(run: Run, options: Options) -> dict:
    metrics = run_all(run, options.overwrite)
    return _results(run.folder, options, metrics) | {"report": str(run.folder / "report.html")}


def _results(folder: Path, options: Options, metrics: dict) -> dict:
    if not options.json:
        Console(width=None if sys.stdout.isatty() else 160).print(
            as_rich(result_table(metrics))
        )  # a file is not narrow
    return {"run": str(folder), "metrics": metrics}


def _draw(run: Run, options: Options) -> dict:
    pictures = draw_architecture(run)
    return _architecture(run, options) | {"pictures": [str(path) for path in pictures]}


def _report(run: Run, options: Options) -> dict:
    return {"run": str(run.folder), "report": str(report(run))}


def _export(run: Run, options: OfExport) -> dict:
    written = export(run, options.out, options.overwrite)
    if not options.json:
        print(f"opset {written['opset']}, features within {written['largest_difference']:.1e} of the network's")
    return {"run": str(run.folder)} | written


COMMANDS = {
    "teach": Command("RECIPE", "train the teacher", _teach, "nas teach kdas --data.root data"),
    "search": Command(
        "RECIPE|RUN", "search an architecture", _search, "nas search kdas --teacher.weights t.safetensors", OfSearch
    ),
    "retrain": Command(
        "RUN", "train the found student, and its baseline", _retrain, "nas retrain runs/out/demo-seed0", OfEntry
    ),
    "evaluate": Command(
        "SUBJECT",
        "measure a run, a recipe's teacher, any network, saved features",
        _evaluate,
        "nas evaluate runs/out/demo-seed0 --rerank",
    ),
    "draw": Command("RUN", "draw the cells", _draw, "nas draw runs/out/demo-seed0 --entry 2", OfEntry),
    "export": Command(
        "RUN", "write the retrained student as ONNX", _export, "nas export runs/out/demo-seed0", OfExport
    ),
    "report": Command("RUN", "write report.html", _report, "nas report runs/out/demo-seed0"),
    "run": Command("RECIPE", "all of it, from teacher to report", _run, "nas run demo --seed 1"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a line that says what is wrong and how to mend it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"nas: warning: {message}", file=sys.stderr)
            status = _main(arguments)
            sys.stdout.flush()
            return status
    except (ValueError, SaveError, NonFiniteLoss) as error:
        print(f"nas: {error}", file=sys.stderr)
        return 2
    except (
        BrokenPipeError
    ):  # who reads has gone, as `| head` does; what is still buffered is not to be written at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("nas: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    word, *rest = arguments
    words = COMMANDS | TOOLS
    if word not in words:
        raise ValueError(f"there is no command {word!r}{near_misses(word, words)}; there are {', '.join(words)}")
    if word in TOOLS:
        return TOOLS[word].call(rest)
    command = COMMANDS[word]
    if not rest or rest[0].startswith("-"):
        print(_usage(word, command))
        return 0 if rest and rest[0] in ("-h", "--help") else 2
    said, options = _called(word, command, rest[0], rest[1:])
    if options.json:
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(f"{key}: {value}" for key, value in said.items() if isinstance(value, str)))
    return 0


def _called(word: str, command: Command, subject: str, arguments: list[str]) -> tuple[dict, Options]:
    """What the command said, and the options it was given."""
    if word == "evaluate" and is_other(subject):
        other, options = parse_network_args(subject, arguments)
        folder = options.out or OUT / other.folder_name
        said = _results(folder, options, evaluate_other(other, folder, options.overwrite))
        return said | {"report": str(write_report(folder))}, options
    takes_run = command.subject == "RUN" or (command.subject != "RECIPE" and Path(subject).is_dir())
    run = Run.open(Path(subject)) if takes_run else None
    name, recipe = (run.name, run.recipe) if run else recipe_named(subject)
    about = f"{command.help}\n\nExample: {command.example}"
    recipe, options = parse_recipe_args(recipe, arguments, f"nas {word} {subject}", about, command.options)
    run = Run(
        run.folder if run else options.out or OUT / f"{name}{'-small' * options.small}-seed{recipe.seed}", name, recipe
    )
    if isinstance(options, OfEntry) and options.entry:
        run = entry_run(run, options.entry, options.overwrite)
    return command.call(run, options), options


def _list_recipes(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    lines = {name: (function.__doc__ or "").strip().splitlines()[0] for name, function in recipes().items()}
    width = max(map(len, lines))
    print(
        json.dumps(lines, indent=2)
        if as_json
        else "\n".join(f"{name:<{width}}  {line}" for name, line in lines.items())
    )
    return 0


def _bench(arguments: list[str]) -> int:
    from nas.bench import BENCHES

    what, *rest = arguments or [""]
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json = "--json" in rest
    measured = tyro.cli(BENCHES[what], args=[word for word in rest if word != "--json"], prog=f"nas bench {what}")
    print(
        json.dumps(measured, indent=2)
        if as_json
        else "\n".join(
            f"{name:<40}" + "  ".join(f"{k} {v:.4g}" for k, v in row.items()) for name, row in measured.items()
        )
    )
    return 0


def _data(arguments: list[str]) -> int:
    from nas.cli.data import data_command

    return data_command(arguments)


def _reproduce(arguments: list[str]) -> int:
    from nas.cli.reproduce import reproduce_command

    return reproduce_command(arguments)


def _tune(arguments: list[str]) -> int:
    from nas.cli.tune import tune_command

    return tune_command(arguments)


def _cost(arguments: list[str]) -> int:
    from nas.cli.cost import cost_command

    return cost_command(arguments)


def _show(arguments: list[str]) -> int:
    from nas.cli.show import show_command

    return show_command(arguments)


def _compare(arguments: list[str]) -> int:
    from nas.cli.compare import compare_command

    return compare_command(arguments)


@dataclass(frozen=True)
class Tool:
    """A word of the program that works on no run of its own."""

    subject: str
    help: str
    call: Callable[[list[str]], int]
    example: str


TOOLS = {
    "recipes": Tool("", "what exists, one line each", _list_recipes, "nas recipes"),
    "data": Tool("check", "whether a data set is whole", _data, "nas data check market1501 data"),
    "reproduce": Tool(
        "PAPER TABLE",
        "a paper's table, paper against measured",
        _reproduce,
        "nas reproduce fast_reid table3 --data data",
    ),
    "tune": Tool(
        "RECIPE",
        "try settings of a recipe, on identities held out",
        _tune,
        "nas tune fast_reid --space fast_reid --sampler grid",
    ),
    "cost": Tool("STUDENT", "parameters, MACs, and the layers they are in", _cost, "nas cost osnet --size 256x128"),
    "show": Tool("RUN", "what a search found: its ranked list and front", _show, "nas show runs/out/demo-seed0"),
    "compare": Tool("RUN RUN", "accuracy and cost side by side", _compare, "nas compare runs/out/a runs/out/b"),
    "bench": Tool("WHAT", "how fast we are", _bench, "nas bench rerank --queries 3368 --gallery 15913"),
}


def _overview() -> str:
    words = COMMANDS | TOOLS
    lines = [f"  nas {word:<10}{command.subject:<12}{command.help}" for word, command in words.items()]
    return "\n".join(
        [
            "Finds small, fast re-identification networks.",
            "",
            *lines,
            "",
            "Examples:",
            *(f"  {command.example}" for command in words.values()),
            "",
            "Every field of a recipe can be set: `nas run RECIPE --help` lists them.",
            "A recipe of your own: nas run path/to/file.py:function",
        ]
    )


def _usage(word: str, command: Command) -> str:
    return (
        f"usage: nas {word} {command.subject} [--field value ...] [--out DIR] [--seed N] [--overwrite] [--json]\n\n"
        f"{command.help}\n\nExample: {command.example}\n"
        f"`nas {word} {command.subject} --help` lists every field, `nas recipes` the recipes."
    )


if __name__ == "__main__":
    sys.exit(main())
