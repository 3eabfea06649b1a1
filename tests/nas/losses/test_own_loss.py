"""A loss of one's own without a temperature, with and without a teacher, through every stage by the real command."""

import json
from pathlib import Path

import pytest

from nas.cli.main import main

OWN = '''
from dataclasses import dataclass, replace

from torch.nn import functional as F

from nas.losses.base import Loss
from nas.recipe import Recipe
from runs.recipes.demo import toy
from search_spaces.resnet import ResNet
from students.losses import cross_entropy
from students.reid import ReID


@dataclass(frozen=True, kw_only=True)
class Labels(Loss):
    """Cross-entropy alone."""

    def __call__(self, out, batch, temperature):
        identity = cross_entropy(out.logits, batch.labels)
        return {"total": identity, "identity": identity}


@dataclass(frozen=True, kw_only=True)
class Imitation(Labels):
    """The teacher's embeddings as well."""

    def __call__(self, out, batch, temperature):
        losses = super().__call__(out, batch, temperature)
        if batch.teacher is None:
            return losses
        imitate = F.mse_loss(out.embedding, batch.teacher.embedding)
        return {**losses, "imitate": imitate, "total": losses["total"] + imitate}


def mine() -> Recipe:
    teacher = replace(toy().teacher, net=ReID(backbone=ResNet(depth=18, width=0.0625), embedding_dim=8), loss=Labels())
    return replace(toy(), loss=Imitation(), teacher=teacher, baseline=None)
'''


@pytest.mark.medium
def test_no_stage_asks_for_a_temperature_and_none_is_plotted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    assert main(["run", "own.py:mine", "--machine.device", "cpu", "--out", "run"]) == 0, capsys.readouterr().err
    for stage, key in (("teach", "loss"), ("search", "weight"), ("search", "alpha"), ("retrain", "loss")):
        for line in map(json.loads, Path(f"run/{stage}.history.jsonl").read_text().splitlines()):
            assert line["temperature"] is None
            assert line[key].keys() == {"total", "identity"} | ({"imitate"} if stage != "teach" else set())
    page = Path("run/report.html").read_text()
    assert "loss of the alphas" in page and "temperature" not in page
