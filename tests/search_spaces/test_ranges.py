"""Every number of every configuration says what it may be, and nothing else gets in: by Python, a flag or a file."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Literal

import pytest

from nas.bench import BENCHES
from nas.cli.arguments import parse_recipe_args
from nas.cli.find_recipe import recipe_named, recipes
from nas.cli.main import main
from nas.cli.parse import ALL
from nas.cli.sentences import sentence
from nas.recipe import Recipe
from nas.system.config import apply_overrides, decode, encode
from runs.recipes.demo import toy
from search_spaces.ranges import NotEmpty, OutOfRange, Range, Ranged, broken, field_hints, in_words
from tests.configurations import configurations, with_subclasses

NUMBERS = (int, float)
CONFIGURATIONS = configurations()
PARAMETERS = {name: typing.get_type_hints(bench, include_extras=True) for name, bench in BENCHES.items()}
FIELDS = [
    pytest.param(cls, name, id=f"{cls.__module__}.{cls.__name__}.{name}")
    for cls in CONFIGURATIONS
    for name in field_hints(cls)
]


def numbers_in(hint, conditions=()):
    """The numbers in an annotation, each with the conditions that stand at it."""
    if hint in NUMBERS:
        yield conditions
    elif typing.get_origin(hint) is Annotated:
        yield from numbers_in(typing.get_args(hint)[0], typing.get_args(hint)[1:])
    elif typing.get_origin(hint) in (tuple, typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from numbers_in(part)


def just_outside(kind, bounds):
    """The numbers that a range excludes next to those that it has, and what is no number for it."""
    steps = (lambda end, way: int(end) + way) if kind is int else (lambda end, way: math.nextafter(end, way * math.inf))
    ends = [(bounds.least, -1), (bounds.most, 1)]
    outside = [steps(end, way) for end, way in ends if math.isfinite(end)]
    outside += [end for end in (bounds.above, bounds.below) if math.isfinite(end)]
    return [*outside, "1", True, math.nan, *((1.0,) if kind is int else (math.inf, -math.inf))]


def wrong_values(hint):
    """What a field of this annotation must refuse, for every reason that it gives."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        conditions = [value for part in parts[1:] for value in [part] if isinstance(part, Range | NotEmpty)]
        number = [value for each in conditions if isinstance(each, Range) for value in just_outside(parts[0], each)]
        empty = [(typing.get_origin(parts[0]) or parts[0])() for each in conditions if isinstance(each, NotEmpty)]
        return number + empty + wrong_values(parts[0])
    if origin in (typing.Union, types.UnionType):
        return [value for part in parts for value in wrong_values(part) if all(broken(value, each) for each in parts)]
    if origin is tuple:
        items = [parts[0]] if parts[1:] == (...,) else list(parts)
        right = tuple(map(example, items))
        return [
            (*right[:place], value, *right[place + 1 :])
            for place, item in enumerate(items)
            for value in wrong_values(item)
        ]
    if origin is Literal:
        return ["none of these", None]
    return {bool: [1, "yes"], str: [1], Path: ["text"]}.get(hint, [])


def example(hint):
    """A value that a field of this annotation takes, as far as its own annotation says."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = next((part for part in parts[1:] if isinstance(part, Range)), None)
        inside = [parts[0](number) for number in (1, 20, 0.5) if bounds and not bounds.broken(parts[0](number))]
        return inside[0] if inside else example(parts[0])
    if origin in (typing.Union, types.UnionType, Literal):
        return parts[0] if origin is Literal else example(parts[0])
    if origin is tuple:
        return (example(parts[0]),) if parts[1:] == (...,) else tuple(map(example, parts))
    if inspect.isclass(hint) and issubclass(hint, Ranged):
        return object.__new__(next(cls for cls in with_subclasses(hint) if not inspect.isabstract(cls)))
    return {int: 1, float: 1.0, bool: True, str: "text", Path: Path("path")}.get(hint)


def unchecked(cls):
    """An object of a configuration, each field with its default or an example."""
    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        missing = field.default is field.default_factory is dataclasses.MISSING
        given = example(field_hints(cls)[field.name]) if missing else default_of(field)
        object.__setattr__(made, field.name, given)
    return made


def default_of(field):
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_every_number_has_a_range_and_every_field_refuses_what_is_just_outside(cls, name):
    hint = field_hints(cls)[name]
    for conditions in numbers_in(hint):
        assert any(isinstance(condition, Range) for condition in conditions), "a number without a range"
    for value in wrong_values(hint):
        made = unchecked(cls)
        object.__setattr__(made, name, value)
        with pytest.raises(OutOfRange, match=rf"^{cls.__name__}\.{name} must "):
            made.__post_init__()


@pytest.mark.parametrize("bench", BENCHES)
def test_every_number_of_a_bench_has_a_range(bench, capsys):
    for name, hint in PARAMETERS[bench].items():
        numbers = [] if name == "return" else [*numbers_in(hint)]
        assert all(any(isinstance(condition, Range) for condition in each) for each in numbers), f"{name} has no range"
        for value in wrong_values(hint)[:1] if numbers else ():
            flag = "--" + name.replace("_", "-")
            words = map(str, value if isinstance(value, tuple) else (value,))
            needed = ["--tables", "x"] if "tables" in PARAMETERS[bench] else []
            assert main(["bench", bench, flag, *words, *needed]) == 2
            assert re.match(rf"nas: {flag} must (each )?be (at least|above) ", capsys.readouterr().err)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_of_the_toolkit_is_within_its_ranges(name):
    assert isinstance(recipe_named(name)[1], Recipe)


class TestPlaces:
    """The line names what the user can change: the class, the flag, or the file's field."""

    @pytest.mark.medium
    @pytest.mark.parametrize(
        ("flags", "says"),
        [
            (["--retrain.sampling.num-ids", "0"], "--retrain.sampling.num-ids must be at least 1, not 0"),
            (["--retrain.sampling.num-ids=1.5"], "--retrain.sampling.num-ids must be a whole number, not '1.5'"),
            (
                ["--search.sampling.num-batches", "0"],
                "--search.sampling.num-batches must be at least 1, or None",
            ),
            (["--seed", "-1"], "--seed must be at least 0, not -1"),
            (["--repeats", "0"], "--repeats must be at least 1, not 0"),
            (["--strategy.minutes", "nan"], "--strategy.minutes must be a finite number, or None, not nan"),
            (["--architecture="], "--architecture must be a path, or None, not ''"),
            (["--space.backbone.channels", "1000000000"], "--space.backbone.channels must be at most 65,536, not"),
            (["--strategy.warmup-epochs", "2"], "--strategy.warmup-epochs must be below epochs, 2, not 2"),
            (["--strategy.alphas.betas", "0.9", "1"], "--strategy.alphas.betas must each be below 1, not (0.9, 1.0)"),
        ],
    )
    def test_a_flag(self, flags, says):
        with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
            parse_recipe_args(toy(), flags, "nas run toy", "")

    def test_an_option_of_a_command(self, capsys):
        assert main(["search", "toy", "--workers", "0"]) == 2
        assert capsys.readouterr().err == "nas: --workers must be at least 1, not 0\n"

    @pytest.mark.parametrize(("field", "wrong"), [("retrain.epochs", 0), ("loss.margin", math.nan), ("seed", -1)])
    def test_a_field_of_a_file(self, field, wrong):
        with pytest.raises(OutOfRange, match=rf"^recipe\.{field} must be "):
            apply_overrides(toy(), {field: wrong})

    def test_a_configuration(self):
        data = encode(toy())
        data["retrain"]["sampling"]["num_ids"] = 0
        with pytest.raises(OutOfRange, match=r"^config\.retrain\.sampling\.num_ids must be at least 1, not 0$"):
            decode(data, Recipe)


def fields_of(value, place=""):
    """Each flag of a configuration, with its sentence, and what its range is in words."""
    for name, hint in field_hints(type(value)).items():
        item = getattr(value, name)
        flag = f"{place}{'no-' * (item is True)}{name.replace('_', '-')}"
        if dataclasses.is_dataclass(item):
            yield from fields_of(item, f"{flag}.")
        else:
            yield flag, sentence(type(value), name), in_words(hint)


def test_the_whole_help_says_what_every_field_is_and_its_range(capfd):
    with pytest.raises(SystemExit):
        parse_recipe_args(toy(), [ALL], "nas run toy", "")
    said = re.sub(r"[\s│╭╮╰╯─]+", " ", capfd.readouterr().out)
    fields = list(fields_of(toy()))
    hints = {flag: said.partition(f" --{flag} ")[2].partition("default: ")[0] for flag, _, _ in fields}
    ranged = {flag: words for flag, _, words in fields if words}
    assert len(ranged) > 40
    assert [flag for flag, words in ranged.items() if not hints[flag].endswith(f"({words}; ")] == []
    assert [flag for flag, text, _ in fields if text not in hints[flag]] == []


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Annotated[int, Range(least=1, most=1_000_000)], "at least 1"),
        (Annotated[float, Range(above=0, below=1)] | None, "above 0 and below 1"),
        (tuple[Annotated[int, Range(least=16, most=8192)], ...], "each 16 to 8,192"),
        (Annotated[str, NotEmpty()], "not empty"),
        (int, ""),
    ],
)
def test_ranges_in_words(hint, words):
    assert in_words(hint) == words
