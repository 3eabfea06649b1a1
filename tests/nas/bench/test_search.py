"""The bench of the search step at a toy's size: every form takes the same step, NNI's too where NNI is."""

import json
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec

import pytest
import torch

import nas.bench.search  # noqa: F401 - by sys.modules: the package has a function of that name
from nas.cli.main import main
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.cell import Cells

bench = sys.modules["nas.bench.search"]
SIZE = {"channels": 2, "cells": 1, "height": 16, "width": 16, "batch": 2, "repeats": 1}
OURS = {"ours", "plain mixed operation", "every gradient", "plain, every gradient", "second order"}
WITH_NNI = OURS | ({"NNI"} if find_spec("nni") else set())


@pytest.mark.medium
def test_the_command_prints_its_rows(capsys):
    assert (
        main(
            [
                "bench",
                "search",
                *(str(word) for name, value in SIZE.items() for word in (f"--{name}", value)),
                "--machine.device",
                "cpu",
                "--json",
            ]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == WITH_NNI and rows["ours"]["ratio"] == 1
    assert all(set(row) == {"seconds", "ratio", "saved_mib"} and min(row.values()) > 0 for row in rows.values())
    assert rows["ours"]["saved_mib"] < rows["plain mixed operation"]["saved_mib"]


@pytest.mark.medium
def test_all_forms_start_from_the_same_loss(tmp_path):
    space = Cells(channels=2, cells=1, reductions=())
    stage = Stage(tmp_path, "bench", "", Machine(device="cpu"))
    batch = bench.Noise(torch.randn(4, 3, 32, 16))
    losses = {}
    for name in WITH_NNI:
        form = bench.FORMS[name](space, stage, batch)
        losses[name] = form.forward().item()
        form.step()
        assert form.forward().item() != losses[name]
    assert len(losses) == len(WITH_NNI) and losses == pytest.approx(dict.fromkeys(losses, losses["ours"]), rel=1e-4)


def test_without_nni_its_row_is_left_out_and_said(monkeypatch):
    def absent(name):
        raise PackageNotFoundError

    monkeypatch.setattr("nas.strategies.nni.install.version", absent)
    with pytest.warns(UserWarning, match="NNI is not measured: nni:DARTS needs NNI 3.0"):
        assert set(bench.available()) == OURS
