"""Command lines: the fields of a recipe as flags, with short names for those that are used most."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import make_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import tyro

from nas.cli.find_recipe import in_recipe_file
from nas.cli.flags import pop_options
from nas.cli.parse import OPTIONS, by_flag, parse
from nas.cli.parts import PARTS, with_parts
from nas.cli.sentences import explained
from nas.cli.short_help import say_short_help
from nas.data.images import Images
from nas.data.sets import class_for, names_for
from nas.models.library import is_classifier
from nas.recipe import Recipe
from nas.strategies.base import Strategy
from nas.study.overrides import read_overrides
from nas.tasks.person_search.table import TableOfCrops
from nas.tasks.reid.feature_files import FEATURE_FILES
from nas.tasks.reid.others import OtherFeatures, OtherNetwork, is_features
from search_spaces.ranges import OutOfRange, Ranged, field_hints

OUT = Path("runs/out")
OVERWRITE = "--overwrite"
SHORT = {
    "--rerank": ("--evaluation.rerank",),
    "--ap": ("--evaluation.ap",),
    "--distance": ("--evaluation.distance",),
    "--keep-same-camera": ("--evaluation.same-camera", "keep"),
    "--repeats": ("--evaluation.repeats",),
    "--flip": ("--evaluation.flip",),
}
"""Short flags, and what they stand for."""
RENAMED = {"--rival": "--baseline", "--tuned": "--overrides", "--search.settings": "--search.parameters"}
"""What flags of version 1 are called today, with all that stands behind them."""
FILES = (".onnx", ".safetensors", *FEATURE_FILES)


@dataclasses.dataclass(frozen=True)
class Options(Ranged):
    """Options of the command itself."""

    out: Annotated[Path | None, tyro.conf.arg(help="where the results go; by default a folder in runs/out")] = None
    overwrite: Annotated[
        bool,
        tyro.conf.arg(
            help="start this command's stages again and replace their results; if stages are named, as in "
            "--overwrite search,retrain, start only these again"
        ),
    ] = False
    restarted: tyro.conf.Suppress[tuple[str, ...]] = ()
    """The stages that are named behind `--overwrite`."""
    small: Annotated[
        bool, tyro.conf.arg(help="try a recipe on synthetic data in seconds; the results mean nothing")
    ] = False
    overrides: Annotated[Path | None, tyro.conf.arg(help="change the recipe with a file that `nas tune` wrote")] = None
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False

    @property
    def again(self) -> bool | tuple[str, ...]:
        """What starts again: the stages that are named, or all of the command's."""
        return self.restarted or self.overwrite


Given = TypeVar("Given", bound=Options)
Other = TypeVar("Other", OtherFeatures, OtherNetwork, TableOfCrops)


def parse_recipe_args(
    recipe: Recipe,
    arguments: list[str],
    prog: str,
    about: str,
    command: type[Given] = Options,  # type: ignore[assignment] # without it, Given is Options
    short: Mapping[str, Sequence[str]] = SHORT,
) -> tuple[Recipe, Given]:
    """The recipe with what the command line changes of it, and the command's options, which are of the class `command`.

    `--on NAME` puts another data set into the recipe, `--strategy NAME` and the like another part, and `--teacher None`
    takes one out. `--small` makes it small, then `--overrides FILE` changes it, both before the fields are read.
    `short`: the short flags, with what they stand for.
    """
    check_renamed(RENAMED, arguments)
    hints = field_hints(Recipe)
    asked, arguments = pop_options(("--on", "--overrides", *PARTS), arguments)
    replaced, recipe = recipe.strategy, with_parts(recipe, asked)
    recipe = recipe.small() if "--small" in arguments else recipe
    overrides = Path(asked["--overrides"]) if "--overrides" in asked else None
    recipe = read_overrides(recipe, overrides) if overrides else recipe
    on = asked.get("--on")
    data = class_for(recipe.data.task, on, f"the recipe, on {type(recipe.data).__name__},") if on else None
    if {"-h", "--help"} & set(arguments):
        say_short_help(recipe, command, prog, about, data)
        raise SystemExit(0)
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    kinds = {name: type(value) if dataclasses.is_dataclass(value) else hints[name] for name, value in values.items()}
    if data is not None:
        kinds["data"] = data
        del values["data"]
    given, options = _parse(explained(kinds, Recipe), values, arguments, prog, about, command, short)
    if "--strategy" in asked and given["strategy"] == recipe.strategy is not None and not options.small:
        _tell_of_budget(asked["--strategy"], given["strategy"], replaced)
    with by_flag():
        return dataclasses.replace(recipe, **given), dataclasses.replace(options, overrides=overrides)


def _tell_of_budget(name: str, strategy: Strategy, replaced: Strategy | None) -> None:
    """Says how long a strategy searches that could not take over the budget of the one that it replaces."""
    if replaced is not None and strategy.counts_like(replaced):
        return
    why = (
        f"{replaced.budget} of {type(replaced).__name__} count otherwise" if replaced else "the recipe has no strategy"
    )
    flags = [*["epochs"] * strategy.trains, *["trials"] * strategy.by_trials, "minutes"]
    print(
        f"nas: {name} searches for {strategy.budget}, its own budget, as {why}: "
        f"{', '.join(f'--strategy.{flag}' for flag in flags)} set it",
        file=sys.stderr,
    )


def is_other(subject: str) -> bool:
    """Whether `subject` is neither a run nor a recipe, but a file to measure or the name of somebody's network. What
    exists as a folder is a run, whatever its name."""
    if in_recipe_file(subject) or Path(subject).is_dir():
        return False
    return Path(subject).suffix in FILES or is_classifier(subject)


def parse_network_args(subject: str, arguments: list[str]) -> tuple[OtherNetwork | OtherFeatures, Options]:
    """A network of others, with the data set that `--on` names, or saved features."""
    prog, about = f"nas evaluate {subject}", "measure what is no run's"
    if is_features(subject):
        return _parse_other(OtherFeatures, {"subject": subject}, {}, arguments, prog, about)
    kind, prog, arguments = parse_on("reid", "a network from elsewhere", "to be measured on", prog, arguments)
    return _parse_other(OtherNetwork, {"subject": subject}, {"data": kind}, arguments, prog, about)


def parse_table_args(subject: Path, images: Images, arguments: list[str], prog: str) -> tuple[TableOfCrops, Options]:
    """The network for crops in the file `subject`, with the data set that `--on` names. `images`: what crops are
    brought to, where the command line does not say."""
    about = "turn a network for crops into a teacher of person search"
    kind, prog, arguments = parse_on("person_search", "an identity table", "whose persons it has", prog, arguments)
    given = {"subject": subject}
    return _parse_other(TableOfCrops, given, {"data": kind}, arguments, prog, about, {"images": images})


def parse_on(task: str, what: str, why: str, prog: str, arguments: list[str]) -> tuple[type[Any], str, list[str]]:
    """The class of data sets for `task` that `--on` names, the program's name with it, and the other arguments."""
    asked, arguments = pop_options(("--on",), arguments)
    if "--on" not in asked:
        raise ValueError(
            f"{what} needs a data set {why}: --on NAME, with {', '.join(names_for(task))} for NAME; "
            "`--on NAME --help` lists its fields"
        )
    return class_for(task, asked["--on"], what), f"{prog} --on {asked['--on']}", arguments


def _parse_other(
    kind: type[Other],
    given: dict[str, Any],
    kinds: dict[str, Any],
    arguments: list[str],
    prog: str,
    about: str,
    standard: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Other, Options]:
    """An object of `kind` with the fields `given`, the others as the command line says: of the classes in `kinds`, with
    the defaults in `standard`, else its own."""
    fields = [field for field in dataclasses.fields(kind) if field.name not in given]
    hints: dict[str, Any] = field_hints(kind)  # type: ignore[arg-type] # mypy's view of a dataclass's hash
    values = {field.name: default_of(field) for field in fields if field.name not in kinds}
    kinds = {field.name: hints[field.name] for field in fields} | kinds
    said, options = _parse(explained(kinds, kind), {**values, **standard}, arguments, prog, about, Options)
    with by_flag():
        return kind(**given, **said), options


def default_of(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def pop_restarted(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The stages named behind `--overwrite`, with blanks or commas between them, and the arguments without them.

    Raises ValueError where the flag stands both alone and with stages.
    """
    named: list[str] = []
    others: list[str] = []
    alone = False
    words = list(arguments)
    while words:
        flag, _, value = (word := words.pop(0)).partition("=")
        others.append(flag if flag == OVERWRITE else word)
        if flag == OVERWRITE:
            while words and not value.startswith("-") and not words[0].startswith("-"):
                value += f",{words.pop(0)}"
            stages = [stage for stage in value.split(",") if stage]
            named += stages
            alone = alone or not stages
    if named and alone:
        raise ValueError(
            f"{OVERWRITE} stands alone, for all stages of the command, or with {', '.join(named)} behind it: "
            "give one of the two"
        )
    return tuple(dict.fromkeys(named)), others


def check_renamed(renamed: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Raises ValueError with today's spelling for a flag of an earlier version, or for a field of one."""
    for word in arguments:
        flag = word.partition("=")[0]
        for old, new in renamed.items():
            if flag == old or flag.startswith(f"{old}."):
                raise ValueError(f"{flag} is {new}{flag.removeprefix(old)} now: give that flag instead")


def spell_out(short: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> list[str]:
    """The arguments with each flag of `short` replaced by what it stands for, also where `=value` is behind it."""
    spelled: list[str] = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        spelled += short.get(flag, (flag,))
        spelled[-1] += equals + value
    return spelled


@contextmanager
def as_typed(short: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> Iterator[None]:
    """Calls a flag that cannot have its value by the short one, where that one was given."""
    try:
        yield
    except OutOfRange as error:
        typed = {word.partition("=")[0] for word in arguments}
        place = next((flag for flag, (long, *_) in short.items() if long == error.place and flag in typed), error.place)
        raise OutOfRange(place, error.must, error.value) from None


def _parse(
    kinds: dict[str, Any],
    values: dict[str, Any],
    arguments: list[str],
    prog: str,
    about: str,
    command: type[Given],
    short: Mapping[str, Sequence[str]] = SHORT,
) -> tuple[dict[str, Any], Given]:
    """What the command line says of each field (its type in `kinds`, its default in `values`), and its options."""
    fields = [
        (name, kind, dataclasses.field(default=values[name]) if name in values else dataclasses.field())
        for name, kind in kinds.items()
    ]
    restarted, arguments = pop_restarted(arguments)
    flat: Any = tyro.conf.OmitArgPrefixes
    fields.append((OPTIONS, flat[command], dataclasses.field(default=command(restarted=restarted))))
    with as_typed(short, arguments):
        given = parse(
            make_dataclass("Given", fields, kw_only=True),
            spell_out(short, arguments),
            prog=prog,
            description=about,
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
        )
    return {name: getattr(given, name) for name in kinds}, given.options
