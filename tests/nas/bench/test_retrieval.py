"""The benches of retrieval at a toy's size: they run, and the ways they compare agree."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nas.bench import BENCHES
from nas.bench.retrieval import Peak
from nas.cli.main import main
from nas.metrics.retrieval import evaluate_distances

SIZE = {"queries": 12, "gallery": 60, "dim": 16, "identities": 5}


def evaluate_cy(distances, *labels_and_max_rank):
    """Takes and gives what torchreid's does."""
    assert all(isinstance(part, np.ndarray) for part in (distances, *labels_and_max_rank[:-1]))
    labels = map(torch.from_numpy, labels_and_max_rank[:-1])
    return None, evaluate_distances(torch.from_numpy(distances), *labels).mAP


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("evaluate", [f"{way}{how}" for how in ("", ", distances given") for way in ("ours", "whole sort", "Cython")]),
        ("rerank", ["ours", "dense"]),
    ],
)
def test_all_ways_find_the_same(monkeypatch, name, ways):
    monkeypatch.setitem(sys.modules, "rank_cy", SimpleNamespace(evaluate_cy=evaluate_cy))
    rows = BENCHES[name](**SIZE, repeats=2, compare=True)
    assert list(rows) == ways
    for way, row in rows.items():
        assert row["ratio"] == 1 or not way.startswith("ours")
        assert row["mAP"] == pytest.approx(rows["ours"]["mAP"], abs=1e-6)


def test_without_cython_it_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "rank_cy", None)
    assert "Cython" not in BENCHES["evaluate"](**SIZE, repeats=1, compare=True)


@pytest.mark.parametrize("name", ["evaluate", "rerank"])
def test_the_command_prints_its_row(name, capsys):
    assert (
        main(
            [
                "bench",
                name,
                *(str(word) for field, value in SIZE.items() for word in (f"--{field}", value)),
                "--repeats",
                "1",
                "--json",
            ]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == {"ours"} and set(rows["ours"]) == {
        "seconds",
        "fastest",
        "spread",
        "processor_s",
        "peak_mib",
        "mAP",
        "ratio",
    }


@pytest.mark.medium
def test_the_peak_is_what_was_held():
    with Peak(torch.device("cpu")) as peak:
        held = np.ones(256 * 2**17)  # 256 MiB
    assert held.nbytes == 256 * 2**20 and 192 < peak.mib < 512
