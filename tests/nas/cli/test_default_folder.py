"""Where a run goes that is given no folder: runs that differ in a part do not meet, and others keep their names."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.arguments import OUT, Options, parse_recipe_args
from nas.cli.default_folder import LONGEST, default_folder
from nas.cli.find_recipe import recipe_named
from nas.strategies import STRATEGIES
from nas.study.overrides import write_overrides

PAGE = Path(__file__).parents[3] / "nas/docs/pages/strategies.md"


def folder(name: str, *flags: str) -> str:
    """The default folder's name."""
    recipe = recipe_named(name)[1]
    path = default_folder(name, recipe, *parse_recipe_args(recipe, list(flags), "nas", ""))
    assert path.parent == OUT and re.fullmatch(r"[A-Za-z0-9._-]+", path.name)
    return path.name


@pytest.mark.medium
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", "toy-seed0"),
        ("--seed 3", "toy-seed3"),
        ("--small", "toy-small-seed0"),
        ("--strategy darts --loss kdas --on pedestrians", "toy-seed0"),
        ("--strategy.epochs 4 --retrain.epochs 3 --data.num-cameras 3", "toy-seed0"),
        ("--teacher.weights a/teacher.safetensors --teacher.training.pretrained r50.pth", "toy-seed0"),
        ("--evaluation.rerank --machine.precision bf16", "toy-seed0"),
        ("--strategy gdas", "toy-gdas-seed0"),
        ("--strategy nni:DARTS --small", "toy-small-nni-DARTS-seed0"),
        ("--on vehicles --loss kd --strategy nsga2", "toy-nsga2-kd-vehicles-seed0"),
        ("--on market1501 --data.root elsewhere", "toy-market1501-seed0"),
        ("--strategy None --teacher None --baseline None", "toy-no-strategy-no-teacher-no-baseline-seed0"),
        ("--on csv --data.file lists/mine.csv", "toy-csv-mine-seed0"),
        ("--search.parameters distillation", "toy-distillation-seed0"),
        ("--strategy single_path --strategy.fair", "toy-single_path-fair-seed0"),
        ("--retrain.pretrained weights/net.pth", "toy-net-seed0"),
        ("--architecture mine/best.json --strategy None", "toy-no-strategy-best-seed0"),
    ],
)
def test_what_was_changed_is_in_the_name(flags, expected):
    assert folder("toy", *flags.split()) == expected


def test_a_file_of_overrides_is(tmp_path):
    write_overrides(tmp_path / "tuned.json", {"loss.margin": 0.5}, None)
    assert folder("toy", "--overrides", str(tmp_path / "tuned.json")) == "toy-tuned-seed0"


def test_it_stays_short_and_apart():
    long = ["--retrain.pretrained", "x" * 300 + "/" + "y" * 200, "--strategy", "gdas"]
    names = {folder("toy", *long), folder("toy", *long[:1], long[1] + "z", *long[2:])}
    assert len(names) == 2 and max(map(len, names)) < LONGEST + 30


def test_each_strategy_has_its_own():
    recipe = recipe_named("toy")[1]
    folders = {
        default_folder("toy", recipe, replace(recipe, strategy=STRATEGIES[name]), Options()).name for name in STRATEGIES
    }
    assert len(folders) == len(STRATEGIES) and len({name.lower() for name in folders}) == len(folders)


@pytest.mark.medium
def test_the_commands_of_the_manual_do_not_meet():
    lines = PAGE.read_text().replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("nas search")]
    assert len(commands) >= 5
    folders = [
        folder(name, *(flags[: flags.index("--workers")] if "--workers" in flags else flags))
        for _, _, name, *flags in commands
    ]
    assert len(set(folders)) == len(folders)
    assert all("--teacher.weights" in command for command in commands), "a new folder has no teacher"
