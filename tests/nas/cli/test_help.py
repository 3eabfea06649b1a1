"""Help helps: every flag has a sentence, and every command says what it takes."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Annotated

import pytest

from nas.bench import BENCHES
from nas.cli.bench import parameters
from nas.cli.commands import COMMANDS
from nas.cli.sentences import sentence
from search_spaces.ranges import field_hints
from tests.configurations import configurations, parts_of
from tests.nas.cli.program import nas

SIMPLE = {int, float, bool, str, Path, type(None)}
"""What a flag's value is made of; a part of another class has flags of its own."""


def is_flag(hint):
    return {part for part in parts_of(hint) if inspect.isclass(part)} <= SIMPLE


def has_help(hint):
    return typing.get_origin(hint) is Annotated and any(getattr(each, "help", None) for each in typing.get_args(hint))


def test_a_class_without_a_file_has_no_sentences():
    made = dataclasses.make_dataclass("Made", [("width", int, 3)])
    assert sentence(made, "width") == ""


def test_every_flag_has_a_sentence():
    said = {
        f"{cls.__module__}.{cls.__name__}.{name}": sentence(cls, name)
        for cls in configurations()
        for name, hint in field_hints(cls).items()
        if is_flag(hint) and not has_help(hint)
    }
    assert len(said) > 200
    assert {flag: text for flag, text in said.items() if not re.fullmatch(r"[A-Z0-9`].+\.", text)} == {}


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_says_what_it_takes(word, capfd):
    assert nas(word, "--help") == 0
    said = capfd.readouterr().out
    assert said.startswith(f"usage: nas {word} ") and f"Example: nas {word}" in said


@pytest.mark.parametrize("bench", BENCHES)
def test_every_bench_says_what_it_takes(bench, capfd):
    assert nas("bench", bench, "--help") == 0
    said = capfd.readouterr().out
    assert said.startswith(f"usage: nas bench {bench} ") and "default: " in said


@pytest.mark.parametrize("bench", BENCHES)
def test_every_flag_of_a_bench_has_a_sentence(bench):
    fields = dataclasses.fields(parameters(BENCHES[bench]))
    assert {field.name for field in fields if is_flag(field.type) and not has_help(field.type)} == set()


def test_without_a_bench_there_is_the_usage_and_an_error(capfd):
    assert nas("bench") == 2
    assert capfd.readouterr().out.startswith("usage: nas bench WHAT ")
