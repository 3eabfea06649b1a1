"""The table-driven bench at a toy's size, on tables of invented accuracies."""

import csv
import itertools
import json

import numpy as np
import pytest
import torch

from nas.bench.strategies import front_share, hypervolume, strategies
from nas.bench.tables import CELLS, MACRO, Questions, read_tables
from nas.cli.main import main
from search_spaces.cost.counting import cost
from search_spaces.nas_bench_201 import TABLE_NAMES, NASBench201, from_table_key
from search_spaces.nas_bench_macro import NASBenchMacro

KEYS = ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops) for ops in itertools.product(TABLE_NAMES.values(), repeat=6)]
FLAGS = ["--seeds", "2", "--trials", "6", "--processes", "1"]
NAMES = ("NAS-Bench-201, CIFAR-10", "NAS-Bench-201, CIFAR-100", "NAS-Bench-Macro, CIFAR-10")


def write_tables(folder, change_cells=lambda rows: rows, change_macro=lambda rows: rows):
    """More 3x3 convolutions, or larger digits, are better."""
    cells = [[key, 50 + 5 * key.count("3x3"), 20 + key.count("1x1")] for key in KEYS]
    with (folder / CELLS).open("w", newline="") as file:
        csv.writer(file).writerows([["architecture", "cifar10_test", "cifar100_test"], *change_cells(cells)])
    keys = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    macro = {key: {"mean_acc": 60 + sum(map(int, key)), "flops": 10 + sum(map(int, key))} for key in keys}
    (folder / MACRO).write_text(json.dumps(change_macro(macro)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.mark.medium
def test_the_command_prints_its_rows_and_draws(folder, tmp_path, capsys):
    assert main(["bench", "strategies", "--tables", str(folder), *FLAGS, "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == {
        f"{table}: {name}" for table in NAMES for name in ("random", "reinforce", "evolution", "tpe", "nsga2")
    }
    for name, row in rows.items():
        assert {"mean", "std", "regret", "optimal", "front"} <= set(row)
        assert ("p" in row) == ("p_front" in row) == (not name.endswith("random"))
        assert row["regret"] >= 0 and 0 <= row["optimal"] <= 1 and 0 <= row["front"] <= 1
    assert rows["NAS-Bench-201, CIFAR-10: evolution"]["published"] == 94.23
    written = json.loads((tmp_path / "strategies.json").read_text())
    curve = written["mean_best_so_far"][NAMES[0]]["random"]
    assert written["rows"] == rows and len(curve) == 6 and curve == sorted(curve)
    assert curve[-1] == rows[f"{NAMES[0]}: random"]["mean"]
    assert (tmp_path / "strategies.png").stat().st_size and "optimum" in (tmp_path / "strategies.svg").read_text()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder, tmp_path):
    size = {"seeds": 2, "trials": 3, "only": ("evolution",), "out": tmp_path}
    assert strategies(folder, **size, processes=2) == strategies(folder, **size, processes=1)


@pytest.mark.medium
def test_a_search_that_learns_beats_chance_and_reaches_what_is_published(folder, tmp_path):
    rows = strategies(folder, seeds=5, trials=100, only=("evolution",), processes=1, out=tmp_path)
    for table in NAMES:
        assert rows[f"{table}: evolution"]["p"] < 0.05
    assert rows[f"{NAMES[2]}: evolution"]["mean"] > rows[f"{NAMES[2]}: random"]["mean"]
    assert "published_after" not in rows[f"{NAMES[0]}: random"]  # the best invented accuracy is 80


@pytest.mark.parametrize("space", [NASBench201(channels=1, cells=2), NASBenchMacro(channels=2, last_channels=2)])
def test_questions_are_the_spaces(space):
    asked = Questions.of(space)
    assert asked.published() == space.published()
    for seed in range(5):
        assert asked.sample(np.random.default_rng(seed)) == space.sample(np.random.default_rng(seed))


def test_a_table_scores_by_its_rows(folder):
    table, _, macro = read_tables(folder)
    key = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|skip_connect~1|nor_conv_1x1~2|"
    score = table.score(from_table_key(key), 1)
    with torch.device("meta"):
        net = NASBench201().student(from_table_key(key))
    assert (score.value, score.cost) == (60, cost(net, 32, 32).multiply_adds)
    assert macro.score(macro.space.published(), 1).value == 68
    assert (table.optimum, macro.optimum) == (50 + 5 * 6, 76)


def test_the_hypervolume_is_what_cells_count():
    rng = np.random.default_rng(0)
    for _ in range(10):
        values, costs = rng.integers(0, 12, (2, 5)).astype(float)
        counted = sum(
            any(v > i and c <= j for v, c in zip(values, costs, strict=True)) for i in range(4, 12) for j in range(10)
        )
        assert hypervolume(values, np.minimum(costs, 10), 4, 10) == counted


def test_the_whole_table_has_the_whole_front(folder):
    macro = read_tables(folder)[2]
    assert front_share(macro, list(macro.accuracies.values()), list(macro.multiply_adds.values())) == 1
    assert front_share(macro, [60.0], [10.0]) == 0


@pytest.mark.medium
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"change_cells": lambda rows: rows[1:]}, r"each of the 15625 .* not 15624"),
        ({"change_cells": lambda rows: [["|gone~0|", 1, 1], *rows[1:]]}, r"does not fit its space: .*gone"),
        ({"change_cells": lambda rows: [[rows[0][0], "much", 1], *rows[1:]]}, "cifar10_test of .* not 'much'"),
        ({"change_cells": lambda rows: [[rows[0][0], 1, 101], *rows[1:]]}, "cifar100_test of .* 0 to 100, not '101'"),
        ({"change_macro": lambda rows: list(rows)}, "must map each architecture"),
        ({"change_macro": lambda rows: {"3": rows.pop("00000000")} | rows}, "not '3'"),
        ({"change_macro": lambda rows: rows | {"00000000": {"mean_acc": 1}}}, "flops of 00000000 .* not None"),
    ],
    ids=["missing", "strange", "text", "percent", "list", "key", "flops"],
)
def test_wrong_tables_are_named(tmp_path, changes, named):
    with pytest.raises(ValueError, match=named):
        read_tables(write_tables(tmp_path, **changes))


def test_wrong_questions_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=f"{MACRO} does not exist"):
        strategies(tmp_path)
    (tmp_path / MACRO).write_bytes((folder / MACRO).read_bytes())
    with pytest.raises(ValueError, match=f"{CELLS} does not exist: --tables"):
        strategies(tmp_path)
    with pytest.raises(ValueError, match="no strategy 'evolutoin'.*evolution"):
        strategies(folder, only=("evolutoin",))
    for count in ("seeds", "trials", "processes"):
        with pytest.raises(ValueError, match=f"{count} must be at least 1, not 0"):
            strategies(folder, **{count: 0})
