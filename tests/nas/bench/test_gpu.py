"""The bench of a GPU: counts without one, and its timed forms on the CPU at a toy's size."""

import json
from importlib.util import find_spec

import pytest
import torch

from nas.bench.gpu import H200_BYTES_PER_MS, gpu, search_forms, timed, training_forms
from nas.cli.main import main
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from students.reid import ReID

CPU = torch.device("cpu")
TINY = Cells(channels=2, cells=1, reductions=())


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path, "bench", "", Machine(device="cpu"))


@pytest.mark.medium
def test_without_a_gpu_the_command_counts(capsys):
    words = "--channels 4 --cells 1 --batch 4 --identities 5 --machine.device cpu --json"
    assert main(["bench", "gpu", *words.split()]) == 0
    rows = json.loads(capsys.readouterr().out)
    steps = ["search step, merged", "search step, plain", "training step"]
    assert list(rows) == ["teacher", *steps]
    assert all(row["host_reads"] == 0 and row["kernels"] > 50 for row in rows.values())
    merged, plain, *_ = (rows[name] for name in steps)
    assert merged["kernels"] < plain["kernels"] and merged["saved_mib"] < plain["saved_mib"]
    assert merged["floor_ms"] == pytest.approx(merged["moved_gib"] * 2**30 / H200_BYTES_PER_MS)


@pytest.mark.medium
def test_forms_of_a_search_step_are_timed_in_turn(stage):
    rows = timed(search_forms(TINY, stage, 2, 16, 16), 2, 1, CPU)
    forms = ["merged", "replayed", "plain", *(["NNI"] if find_spec("nni") else [])]
    assert list(rows) == [f"search step, {form}" for form in forms]
    assert rows["search step, merged"]["ratio"] == 1
    assert all(row["images_per_second"] == pytest.approx(2 / row["seconds"]) for row in rows.values())


@pytest.mark.medium
def test_forms_of_a_training_step_train(stage, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **how: call)  # a compiler need not be there
    space = ReID(backbone=ResNet(width=1 / 16), num_ids=5)
    forms = training_forms(space, stage, 4, 32, 16, 16)
    losses = {name: [form()["total"].item() for _ in range(2)] for name, form in forms.items()}
    assert len(forms) == 5 and all(first != second for first, second in losses.values())
    assert losses["training step, replayed"] == pytest.approx(losses["training step, compiled"], rel=1e-4)


def test_images_must_fill_a_batch():
    with pytest.raises(ValueError, match="--images must be at least --batch, 16, not 8"):
        gpu(images=8)
