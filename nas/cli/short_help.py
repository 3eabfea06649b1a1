"""What `nas COMMAND RECIPE --help` says: the flags that people use. `--help-all` lists every field of the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro
from rich.console import Console
from rich.table import Table

from nas.cli.parse import ALL, flag
from nas.cli.sentences import sentence
from nas.data.sets import names_for
from nas.errors import PLUGIN
from nas.losses import LOSSES
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies import STRATEGIES
from search_spaces.ranges import in_words
from students.named import STUDENTS
from students.space import StudentSpace

WIDEST = 120
HIDDEN = get_args(tyro.conf.Suppress[int])[1]
"""What marks a field that is no flag."""
FIELDS = (
    "seed",
    "data.root",
    "data.file",
    "images.height",
    "images.width",
    "space.backbone.channels",
    "space.backbone.width",
    "strategy.epochs",
    "strategy.trials",
    "strategy.order",
    "strategy.minutes",
    "teacher.weights",
    "teacher.training.epochs",
    "loss.temperature.start",
    "loss.temperature.end",
    "pretraining.data",
    "pretraining.epochs",
    "retrain.epochs",
    "retrain.pretrained",
    "retrain.optimiser.lr",
    "retrain.sampling.num_ids",
    "evaluation.rerank",
    "machine.device",
    "machine.devices",
    "machine.precision",
    "machine.threads",
)
"""The fields of a recipe that people set, where it has them."""


class Flag(NamedTuple):
    """One line of the help."""

    name: str
    takes: str
    text: str


def say_short_help(recipe: Recipe, options: type, prog: str, about: str, data: type | None = None) -> None:
    """Prints the flags of the command, the parts that have names, and the fields that people set.

    options: the dataclass of what the command takes beside the recipe. data: the class of the data set that `--on`
    names, if it does.
    """
    console = Console(highlight=False, markup=False)
    width = min(console.width, WIDEST)
    console.print(f"usage: {prog} [--flag value ...]\n\n{about}\n", width=width)
    for title, lines in (
        ("Options of the command", _options(options)),
        ("Parts of the recipe, by name (--PART.FIELD sets a field)", _parts(recipe)),
        ("Common fields", _fields(recipe, data, " pretrain" in prog)),
    ):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for line in lines:
            table.add_row(f"  {line.name} {line.takes}", line.text)
        console.print(title, style="bold")
        console.print(table, "", width=width)
    console.print(f"`{prog} {ALL}` lists every field.", width=width)


def _options(options: type) -> Iterator[Flag]:
    hints = get_type_hints(options, include_extras=True)
    for field in dataclasses.fields(options):
        said = [each.help for each in get_args(hints[field.name])[1:] if getattr(each, "help", None)]
        hidden = HIDDEN in get_args(hints[field.name])[1:]
        for text in said or [sentence(options, field.name)] * (not hidden):
            yield Flag(flag(field.name), _takes(hints[field.name]), text)
    yield Flag(PLUGIN, "FILE", "load classes from a file of your own")


def _parts(recipe: Recipe) -> Iterator[Flag]:
    task = recipe.data.task
    networks = ", ".join(STUDENTS)
    losses = [name for name, loss in LOSSES.items() if loss.task in ("", task)]
    texts = {
        "on": ("NAME", f"the data set: {', '.join(names_for(task)) if isinstance(task, str) else 'your own'}"),
        "strategy": ("NAME|None", f"how it searches: {', '.join(STRATEGIES)}"),
        "loss": ("NAME", f"what is minimised: {', '.join(losses)}; rkd+kdas adds relations to another one"),
        "retrain-loss": ("NAME|None", "what the retraining minimises, from the same list; None: the loss"),
        "teacher": ("FILE|RUN|NAME|None", "the teacher: weights, the run that has them, or a network to train"),
        "space": ("NAME", f"the network that is searched, or retrained as published: {networks}"),
        "student": ("NAME|None", "the same network at the size that is retrained; None: as searched"),
        "baseline": ("NAME|None", "a network to compare with, from the same list"),
    }
    for name, (takes, text) in texts.items():
        part = recipe.data if name == "on" else getattr(recipe, name.replace("-", "_"))
        yield Flag(flag(name), takes, f"{text} (now {_title(part)})")


def _title(part: Any) -> str:
    if isinstance(part, TeacherRecipe):
        return str(part.weights or part.net.title)
    return part.title if isinstance(part, StudentSpace) else "None" if part is None else type(part).__name__


def _fields(recipe: Recipe, data: type | None, pretraining: bool) -> Iterator[Flag]:
    """`pretraining`: whether those of a pretraining are shown, which one command alone reads."""
    for path in FIELDS:
        if path.startswith("pretraining.") and not pretraining:
            continue
        *parents, name = path.split(".")
        owner: Any = recipe
        for parent in parents:
            owner = getattr(owner, parent, None)
        kind = data if data and parents == ["data"] else type(owner)
        fields = {field.name: field for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
        if name not in fields:
            continue
        hint = get_type_hints(kind, include_extras=True)[name]
        value = fields[name].default if kind is data else getattr(owner, name)
        default = "required" if value is dataclasses.MISSING else f"default: {'none' if value == '' else value}"
        said = ", ".join(filter(None, [in_words(hint), default]))
        yield Flag(flag(path), _takes(hint), f"{sentence(kind, name)} ({said})".strip())


def _takes(hint: Any) -> str:
    """What stands behind a flag: `INT`, `PATH|None`, `{a,b}`; nothing behind one that is a switch."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is Literal:
        return f"{{{','.join(map(str, get_args(kind)))}}}"
    if get_origin(kind) in (Union, UnionType):
        return "|".join(map(_takes, get_args(kind)))
    return {bool: "", type(None): "None"}.get(kind, kind.__name__.upper())
