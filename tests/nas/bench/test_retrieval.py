"""The benches of retrieval at a toy's size: they run, and the ways they compare agree."""

import json

import numpy as np
import pytest
import torch

from nas.bench import BENCHES
from nas.bench.retrieval import Peak
from nas.cli.main import main

SIZE = {"queries": 12, "gallery": 60, "dim": 16, "identities": 5}


@pytest.mark.parametrize(("name", "plain"), [("evaluate", "whole sort"), ("rerank", "dense")])
def test_all_ways_find_the_same(name, plain):
    rows = BENCHES[name](**SIZE, repeats=2, compare=True)
    assert set(rows) == {"ours", plain}
    assert rows["ours"]["ratio"] == 1
    assert rows["ours"]["mAP"] == pytest.approx(rows[plain]["mAP"], abs=1e-6)


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
    assert set(rows) == {"ours"} and set(rows["ours"]) == {"seconds", "spread", "peak_mib", "mAP", "ratio"}


@pytest.mark.medium
def test_the_peak_is_what_was_held():
    with Peak(torch.device("cpu")) as peak:
        held = np.ones(256 * 2**17)  # 256 MiB
    assert held.nbytes == 256 * 2**20 and 192 < peak.mib < 512
