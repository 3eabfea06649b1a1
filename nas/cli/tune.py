"""`nas tune`: the command line of a study, the processes that work at it, and the dashboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nas.cli.arguments import OUT, parse_recipe_args
from nas.cli.arguments import SHORT as SHORT_OF_RECIPES
from nas.cli.files import Files, say
from nas.cli.find_recipe import recipe_named
from nas.cli.parse import parse
from nas.cli.workers import StudyOptions, warn_of_password, work_at_study
from nas.errors import without_secrets
from nas.recipe import Recipe
from nas.report.table import as_rich, terminal
from nas.run import Run
from nas.study.place import Place, stored_in
from nas.system.progress import timed
from search_spaces.ranges import Count, Name, OpenShare, Range, Ranged

HOST = "127.0.0.1"
EXAMPLE = "nas tune fast_reid --parameters fast_reid --sampler grid --data.root data"
USAGE = f"""usage: nas tune RECIPE --parameters NAME [--sampler grid|tpe|nsga2] [--trials N] [--workers N] [--epochs N]
                [--pruner none|median|hyperband] [--storage FILE|ADDRESS] [--field value ...] [--out DIR]
       nas tune --dashboard DIR|FILE|ADDRESS [--port N]

Tries settings of a recipe with Optuna, each on training identities that are held out; the test set is not looked at.
The same command goes on with a study, and joins one at which others work, on this machine or (with a database's
address) on others. A database's password belongs into ~/.pgpass or PGPASSWORD, or with the address into NAS_STORAGE.

Example: {EXAMPLE}
`nas tune RECIPE --help` lists the usual flags, --help-all all. Names are joined by +:
distillation+architecture."""
SHORT = {**SHORT_OF_RECIPES, "--epochs": ("--retrain.epochs",)}


@dataclasses.dataclass(frozen=True)
class TuneOptions(StudyOptions):
    """What the command takes beside the fields of the recipe."""

    parameters: Annotated[
        Name,
        tyro.conf.arg(
            help="what is tuned: fast_reid, vrkd, ksl, rate, oim_weight, kd_det, distillation, architecture, joint, "
            "or several joined by +"
        ),
    ] = "distillation"
    sampler: Annotated[
        Literal["grid", "tpe", "nsga2"],
        tyro.conf.arg(help="all combinations, Optuna's estimator, or mAP against MACs"),
    ] = "tpe"
    pruner: Annotated[
        Literal["none", "median", "hyperband"],
        tyro.conf.arg(
            help="stop a trial whose mAP on the way is poor; it is told every --retrain.validate-every epochs"
        ),
    ] = "none"
    trials: Annotated[Count | None, tyro.conf.arg(help="how many trials; by default 20, or the whole grid")] = None
    held_out: Annotated[OpenShare, tyro.conf.arg(help="share of the training identities to measure on")] = 0.2


def main(arguments: Sequence[str]) -> int:
    """Runs `nas tune ARGUMENTS`; the exit status. Raises ValueError for what cannot be tuned."""
    if any(word.partition("=")[0] == "--dashboard" for word in arguments):
        return _dashboard(arguments)
    if not arguments or arguments[0].startswith("-"):
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    return _tune(*_asked(arguments), arguments)


def folder_of(arguments: Sequence[str]) -> Path:
    """The folder of the study that these arguments ask for. Raises ValueError for what cannot be read."""
    return _asked(arguments)[-1].folder


def _asked(arguments: Sequence[str]) -> tuple[str, Recipe, TuneOptions, Place]:
    """The recipe with its name, the options and the study's place."""
    subject, *rest = arguments
    name, recipe = recipe_named(subject)
    about = f"try settings of the recipe\n\nExample: {EXAMPLE}"
    recipe, options = parse_recipe_args(recipe, rest, f"nas tune {subject}", about, TuneOptions, SHORT)
    label = f"{name}{'-small' * options.small}-{options.parameters}-seed{recipe.seed}"
    return name, recipe, options, options.place(OUT / f"tune-{label}")


def _tune(name: str, recipe: Recipe, options: TuneOptions, place: Place, arguments: Sequence[str]) -> int:
    from nas.stages.tune import Tuner, Tuning, taught
    from nas.study.result import trial_table, write_results

    tuning = Tuning(space=options.parameters, sampler=options.sampler, pruner=options.pruner, held_out=options.held_out)
    tuner = Tuner(Run(place.folder, name, recipe), tuning, place, options.trials)
    files = Files(place.folder)
    if options.work_only:
        tuner.work(taught)
        return 0
    threads = tuner.recipe.machine.threads
    with tuner.telling():
        work_at_study(
            "tune", lambda: tuner.work(taught), main, arguments, options.workers, threads, place.folder, tuner.engine
        )
    with timed("report of the trials", place.folder):
        found = write_results(tuner.study, place.folder)
    if not options.json:
        print(f"`nas run {arguments[0]} --overrides {place.folder / 'tuned.json'}` runs the best of them.")
    said = {
        "run": str(place.folder),
        "tuned": str(place.folder / "tuned.json"),
        "report": str(place.folder / "tuning.html"),
    }
    if not options.json:
        terminal().print(as_rich(trial_table(found)))
    say(said | found, files.written(), options.json)
    return 0


@dataclasses.dataclass(frozen=True)
class Dashboard(Ranged):
    """What `nas tune --dashboard` takes."""

    dashboard: Annotated[Name, tyro.conf.arg(help="a tuned folder, or a --storage")]
    port: Annotated[int, Range(least=1, most=65_535)] = 8080
    """Port of this machine at which the dashboard is served."""


def _dashboard(arguments: Sequence[str]) -> int:
    """Serves optuna-dashboard's page to this machine alone, until it is interrupted."""
    try:
        import bottle
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise ValueError("--dashboard needs optuna-dashboard: pip install 'nas-reid[tune]'") from None

    from nas.study.storage import open_storage

    given = parse(Dashboard, arguments, prog="nas tune", description="look at a study in the browser")
    address = str(stored_in(Path(given.dashboard))) if Path(given.dashboard).is_dir() else given.dashboard
    warn_of_password(address)
    storage = open_storage(address, must_exist=True)
    print(f"{without_secrets(address)}: http://{HOST}:{given.port}/ until Ctrl-C", flush=True)
    try:
        bottle.run(to_this_machine(wsgi(storage), given.port), host=HOST, port=given.port)
    except OSError as error:
        raise ValueError(f"port {given.port} cannot be had ({error}): give --port another one") from None
    return 0


def to_this_machine(app: Callable[..., Iterable[bytes]], port: int) -> Callable[..., Iterable[bytes]]:
    """The application for pages that this machine's browser opened under its own name: with another Host or Origin a
    page of a stranger asks, whose name he has pointed here."""
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", f"http://{hosts[0]}")
        if environ.get("HTTP_HOST") in hosts and origin in [f"http://{host}" for host in hosts]:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [f"open http://{hosts[0]}/\n".encode()]

    return answer
