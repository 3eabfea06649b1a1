"""Searches in a table of `nas tabulate`: in one of a whole space as in the public ones, in a part among its rows."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.bench.proxies import proxies
from nas.bench.strategies import front_share, strategies
from nas.bench.tables import Branches, Tree, read_tables
from nas.cli.main import main
from nas.data.images import Images
from nas.models.network import FeatureNet
from nas.strategies.evolution import mutated
from nas.strategies.proxies import synflow
from nas.system.config import encode
from search_spaces.architecture import Architecture, all_edges
from search_spaces.shallow_cnn import ShallowCNN
from students.reid import ReID

WIDTHS, KERNELS = (8, 16, 32), ("k1", "k3")
SPACE, IMAGES = ReID(backbone=ShallowCNN(widths=(0.05, 0.1)), embedding_dim=8), Images(height=64, width=32)
NODES = all_edges({0: ["conv", "skip"], 1: ["conv", "skip"], 2: ["conv", "skip"]}, 2)


def write_table(folder, num=None, how="all", change=lambda table: table):
    """Every width with every kernel, and with the larger one a node; the wider the better, by seeds and arms alike."""
    decisions = [{"width": width, "kernel": "k1"} for width in WIDTHS]
    decisions += [
        {"width": width, "kernel": "k3", "node": list(node)} for width, node in itertools.product(WIDTHS, NODES)
    ]
    rows = [
        {
            "hash": Architecture("", {n: tuple(a) if isinstance(a, list) else a for n, a in each.items()}).hash,
            "decisions": each,
            "multiply_adds": 100 * each["width"] + place,
            "runs": [
                {"arm": arm, "seed": seed, "mAP": (each["width"] + 10 * (arm == "taught") + seed) / 100}
                for arm in ("labels", "taught")
                for seed in (0, 1)
            ],
        }
        for place, each in enumerate(decisions)
    ]
    table = {
        "format": 1,
        "space": "cells",
        "settings": encode(SPACE),
        "arms": {arm: {"config": {"images": encode(IMAGES)}} for arm in ("labels", "taught")},
        "seeds": [0, 1],
        "chosen": {"how": how, "seed": 0, "multiply_adds": None, "within": None},
        "architectures": rows[:num],
    }
    (folder / "table.json").write_text(json.dumps(change(table)))
    return folder


def test_a_whole_space_asks_what_its_rows_answer(tmp_path):
    labels, taught = read_tables(write_table(tmp_path))
    assert (labels.name, labels.optimum, taught.optimum) == ("cells, labels", 32.5, 42.5)
    rng = np.random.default_rng(0)
    found = {labels.space.sample(rng) for _ in range(2000)}
    assert len(found) == len(WIDTHS) * (1 + len(NODES)) == len(labels.accuracies)
    for architecture in found:
        assert labels.score(architecture, 1).value == architecture.decisions["width"] + 0.5
        child = mutated(labels.space, architecture, rng)
        assert child in found and child != architecture


@pytest.mark.medium
def test_every_strategy_searches_in_a_whole_space(tmp_path):
    rows = strategies(write_table(tmp_path), seeds=2, trials=12, processes=1, out=tmp_path / "out")
    assert {name.rpartition(" ")[2] for name in rows} == {"random", "reinforce", "evolution", "tpe", "nsga2"}
    assert len(rows) == 10 and all(0 <= row["regret"] <= 24 for row in rows.values())
    assert (tmp_path / "out" / "strategies.svg").exists()


@pytest.mark.parametrize(
    "how, num, change, lacks",
    [
        ("by chance", 10, lambda table: table, "has 10 architectures that were drawn by chance"),
        ("all", None, lambda table: table["architectures"][0]["runs"].clear() or table, "lacks 1 of 39 architectures"),
        ("all", None, lambda table: table["chosen"].update(multiply_adds=9.0) or table, "about equal MACs"),
    ],
    ids=["drawn", "unfinished", "band"],
)
def test_a_part_of_a_space_is_searched_among_its_rows_by_chance_alone(tmp_path, how, num, change, lacks):
    write_table(tmp_path, num, how, change)
    table = read_tables(tmp_path)[-1]
    assert lacks in table.lacks
    drawn = {table.key(table.space.sample(np.random.default_rng(seed))) for seed in range(500)}
    assert drawn == {*table.accuracies}
    with pytest.warns(UserWarning, match=f"{lacks}.*: only random search is measured"):
        rows = strategies(tmp_path, seeds=2, trials=300, processes=1, out=tmp_path / "out")
    assert rows["cells, taught: random"]["optimal"] == 1 and "cells, taught: evolution" not in rows
    with pytest.raises(ValueError, match=f"{lacks}.*, and evolution would ask for others: leave --only out"):
        strategies(tmp_path, only=("evolution",), out=tmp_path / "out")


def test_a_front_of_nothing_but_the_most_expensive_is_whole(tmp_path):
    table = read_tables(write_table(tmp_path, 5, "by chance"))[0]
    costs = {each: 1.0 + (accuracy > 8.5) for each, accuracy in table.accuracies.items()}  # 8.5 is the median
    assert front_share(replace(table, multiply_adds=costs), [8.5], [1.0]) == 1


def renamed(table):
    """The first row asks for something else than the others."""
    row = table["architectures"][0]
    return row.update(decisions={"depth": 1, "kernel": "k1"}) or table


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda table: {"format": 1, "rows": [], "notes": []}, "must be the table.json of a `nas tabulate`"),
        (lambda table: table | {"format": 9}, "has format 9"),
        (lambda table: table["architectures"][0]["runs"][0].update(mAP=7) or table, "mAP of .* a share from 0 to 1"),
        (lambda table: table["architectures"][0]["runs"][0].update(arm="x") or table, "none of the table's"),
        (lambda table: table["architectures"][0].pop("hash") and table, "not as this version of the toolkit writes it"),
        (lambda table: table["architectures"].append(table["architectures"][0]) or table, "have the same hash"),
        (lambda table: table | {"architectures": table["architectures"][:4]}, "has 4 architectures .* needs 5"),
        (renamed, "the same answers lead to different questions: depth, width"),
    ],
    ids=["other", "later", "percent", "arm", "hash", "twice", "few", "questions"],
)
def test_wrong_tables_are_named(tmp_path, change, named):
    with pytest.raises(ValueError, match=named):
        read_tables(write_table(tmp_path, change=change))


def test_the_program_says_what_is_wrong(tmp_path, capsys):
    assert main(["bench", "strategies", "--tables", str(write_table(tmp_path, 4))]) == 2
    assert "table.json has 4 architectures with all seeds of the arm 'labels'" in capsys.readouterr().err


def of_the_space(table):
    """The first rows become architectures of the space that the table names."""
    rng = np.random.default_rng(0)
    for row in table["architectures"]:
        sampled = SPACE.with_ids(10).sample(rng)
        row.update(decisions=sampled.to_dict()["decisions"], hash=sampled.hash)
    return table | {"chosen": table["chosen"] | {"how": "by chance"}}


@pytest.mark.medium
def test_a_proxy_looks_at_the_networks_that_were_trained(tmp_path):
    table = read_tables(write_table(tmp_path, 6, change=of_the_space))[0]
    hashes = list(table.accuracies)
    rows = {row["hash"]: row for row in json.loads((tmp_path / "table.json").read_text())["architectures"]}
    said = [table.estimate(Architecture("", {"row": each}), "synflow").value for each in hashes]
    for each, value in zip(hashes, said, strict=True):
        torch.manual_seed(0)
        images = torch.randn(16, 3, IMAGES.height, IMAGES.width)
        torch.randint(10, (16,)), torch.randn(16, 3, IMAGES.height, IMAGES.width), torch.randint(10, (16,))
        net = SPACE.with_ids(10).student(Architecture.from_dict(rows[each]))
        assert value == synflow(FeatureNet(net), images[:1])
    assert len(set(said)) == 6
    looked = proxies(tmp_path, sample=6, seeds=2, trials=2, out=tmp_path / "out")
    assert {name.partition(":")[0] for name in looked} == {"cells, labels", "cells, taught"}


def test_a_tree_without_questions_asks_nothing():
    assert Tree(Branches.of([[]])).published().decisions == {}
