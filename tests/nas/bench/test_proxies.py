"""Zero-cost proxies on tables of invented accuracies."""

import json
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nas.bench.proxies import proxies, sampled
from nas.bench.tables import read_tables
from nas.strategies.proxies import NUM_BATCHES
from tests.nas.bench.test_strategies import NAMES, write_tables


@pytest.mark.medium
def test_its_rows_are_those_of_the_values_it_writes(tmp_path):
    folder = write_tables(tmp_path)
    rows = proxies(folder, sample=6, seeds=3, trials=2, out=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "proxies.json").read_text())
    names = ["multiply_adds", *NUM_BATCHES]
    assert written["rows"] == rows and list(rows) == [f"{table}: {name}" for table in NAMES for name in names]
    table = read_tables(folder)[0]
    drawn = sampled(table, 6)
    accuracies = [table.accuracies[table.key(architecture)] for architecture in drawn]
    for name in NUM_BATCHES:
        said = written["values"][NAMES[0]][name]
        assert said == [table.estimate(architecture, name).value for architecture in drawn]
        row = rows[f"{NAMES[0]}: {name}"]
        assert row["spearman"] == pytest.approx(spearmanr(said, accuracies)[0])
        assert row["kendall"] == pytest.approx(kendalltau(said, accuracies)[0])
        assert min(accuracies) <= row["mean"] <= row["best"] <= max(accuracies)
        assert row["chance"] == pytest.approx(np.mean(accuracies)) and row["seconds"] > 0


@pytest.mark.medium
def test_what_agrees_wholly_finds_the_best(tmp_path, monkeypatch):
    """In the invented table of NAS-Bench-Macro accuracy and cost are the same number but for a constant."""
    monkeypatch.setattr(import_module("nas.bench.proxies"), "NUM_BATCHES", {})
    row = proxies(write_tables(tmp_path), sample=50, seeds=4, trials=10, out=tmp_path)[f"{NAMES[2]}: multiply_adds"]
    assert [row["spearman"], row["kendall"]] == pytest.approx([1.0, 1.0])
    assert row["mean"] == pytest.approx(row["best"]) and row["mean"] > row["chance"]


def test_more_trials_than_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="trials must be at most sample, 5, not 6"):
        proxies(tmp_path, sample=5, trials=6)
