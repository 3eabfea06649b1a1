"""A user's own data set, task, space, loss and strategy, through every stage by the real commands: nothing there knows
crops, and the run's folder says where its classes are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.main import main

ROOT = Path(__file__).parents[3]
OWN = '''
"""Which of some patterns is it? A task of one's own: no cameras, no queries, its value is a share of right answers."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import nn

from nas.data.batches import Batch
from nas.data.images import Images
from nas.data.source import Source
from nas.losses.kdas import KDASLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.strategies.evolution import Evolution
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from students.reid import ReID, ReIDOutput
from students.space import StudentModule, StudentSpace
from teachers.temperature import Linear


class Patterns:
    """The task: a part is a pair of images and labels."""

    def check(self, recipe, data, trainings):
        self.check_evaluation(data, recipe.evaluation)

    def check_evaluation(self, data, evaluation):
        if len(data.identities) < 2:
            raise ValueError("patterns must be at least two")

    def train_part(self, data, recipe):
        return SimpleNamespace(images=data.images, labels=data.labels, problem="")

    test_part = train_part

    def halves(self, data, recipe, rng):
        return tuple(SimpleNamespace(images=data.images[i::2], labels=data.labels[i::2], problem="") for i in (0, 1))

    def batches(self, data, part, how, seed, stage):
        return InTurn(part, seed)

    def value(self, net, part, recipe, stage):
        training = net.training
        with torch.no_grad():
            right = (net.eval()(part.images).logits.argmax(dim=1) == part.labels).float().mean().item()
        net.train(training)
        return right

    def measure(self, networks, data, images, evaluation, stage, **further):
        part = self.train_part(data, None)
        values = {each: self.value(each.net, part, None, stage) for each in networks}
        rows = [{"name": each.name, "role": each.role, "mAP": value} for each, value in values.items()]
        metrics = {"format": 1, "data": data.name, "protocol": {"num_images": len(data.labels)}, "rows": rows}
        (stage.folder / "metrics.json").write_text(json.dumps(metrics))
        return metrics

    def example(self, recipe, num_ids):
        return Batch(torch.empty(2, 3, 16, 16), torch.empty(2, dtype=torch.int64))

    def deployed(self, net):
        return Answer(net)

    def held_out(self, source, share, seed):
        return replace(source, seed=source.seed + 1)

    def small(self, recipe):
        return replace(recipe, data=replace(recipe.data, per_pattern=4))


class Answer(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).embedding


class Flat(StudentModule):
    def __init__(self, num_ids):
        super().__init__()
        self.embed, self.classify = nn.Linear(3 * 16 * 16, 8), nn.Linear(8, num_ids)

    def forward(self, images):
        embedding = self.embed(images.flatten(1))
        return ReIDOutput(self.classify(embedding), embedding, embedding)


@dataclass(frozen=True, kw_only=True)
class Flats(StudentSpace):
    """A space of its own, of networks that are no re-ID networks."""

    num_ids: int | None = None

    def build(self, pick, c_in=3):
        return Flat(self.num_ids)

    def with_ids(self, num_ids):
        return replace(self, num_ids=num_ids)


class InTurn:
    def __init__(self, part, seed):
        self.part, self.seed = part, seed

    def __len__(self):
        return len(self.part.labels) // 8

    def __call__(self, epoch, start=0):
        order = torch.randperm(len(self.part.labels), generator=torch.Generator().manual_seed(100 * self.seed + epoch))
        for step in range(start, len(self)):
            chosen = order[8 * step : 8 * step + 8]
            yield Batch(self.part.images[chosen], self.part.labels[chosen])


@dataclass(frozen=True, kw_only=True)
class Checkers(Source):
    """Stripes of several widths in noise."""

    task = Patterns()
    per_pattern: int = 8
    seed: int = 0

    def load(self):
        rng = torch.Generator().manual_seed(self.seed)
        labels = torch.arange(4).repeat(self.per_pattern)
        rows = torch.arange(16)[None, :] // (labels[:, None] + 1) % 2
        images = rows[:, None, :, None] + 0.3 * torch.randn(len(labels), 3, 16, 16, generator=rng)
        return SimpleNamespace(name="checkers", identities=(0, 1, 2, 3), images=images, labels=labels)


@dataclass(frozen=True, kw_only=True)
class Halved(KDASLoss):
    """A loss of its own."""

    def __call__(self, out, batch, temperature):
        losses = super().__call__(out, batch, temperature)
        return {**losses, "total": losses["total"] / 2}


@dataclass(frozen=True, kw_only=True)
class Noted(DARTS):
    """A strategy of its own."""


TRAINING = Training(epochs=2, validate_every=1)


def checkers() -> Recipe:
    """Four patterns, a ResNet teacher, cells of four channels."""
    return Recipe(
        data=Checkers(),
        images=Images(height=16, width=16),
        teacher=TeacherRecipe(net=ReID(backbone=ResNet(depth=18, width=0.125), embedding_dim=8), training=TRAINING),
        space=ReID(backbone=Cells(channels=4, cells=2, reductions=(2,)), embedding_dim=8),
        student=None,
        baseline=Flats(),
        loss=Halved(temperature=Linear(start=2.0, end=0.0)),
        strategy=Noted(epochs=2),
        retrain=TRAINING,
    )


def evolved() -> Recipe:
    """The same by trials: each is trained on one half and measured on the other."""
    strategy = Evolution(trials=3, population=2, sample=2, epochs=1)
    return replace(checkers(), teacher=None, baseline=None, strategy=strategy)
'''


@pytest.fixture
def nas(tmp_path, monkeypatch, capsys):
    """Runs the program in a folder where `own.py` lies; what it says as JSON."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)

    def run(*words: str) -> dict:
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


COMMANDS = ["evaluate", "draw", "show", "report", "cost"]
FRESH = """
import os, sys
from nas.cli.main import main
trusted = os.environ.pop("XDG_CONFIG_HOME")
os.environ["XDG_CONFIG_HOME"] = sys.argv.pop(1)
refused = main(["evaluate", sys.argv[1], "--json"])
os.environ["XDG_CONFIG_HOME"] = trusted
print([refused, *(main([word, sys.argv[1], "--json"]) for word in sys.argv[2:])], file=sys.stderr)
"""


@pytest.mark.medium
def test_every_stage(nas):
    metrics = nas("run", "own.py:checkers", "--out", "run")["metrics"]
    assert [row["role"] for row in metrics["rows"]] == ["teacher", "baseline", "student"]
    assert metrics["data"] == "checkers" and metrics["rows"][1]["name"] == "baseline (Flats)"
    assert all(0 <= row["mAP"] <= 1 for row in metrics["rows"])
    history = [json.loads(line) for line in Path("run/retrain.history.jsonl").read_text().splitlines()]
    assert all("mAP" in line for line in history), "it is validated by the task's value"
    assert "checkers" in Path("run/report.html").read_text()
    assert nas("export", "run", "--no-measure")["export"]["images"] == ["batch", 3, 16, 16]
    assert nas("show", "run")["finished"]
    assert nas("evaluate", "run")["metrics"]["rows"] == metrics["rows"]
    (Path.cwd() / "elsewhere").mkdir()
    command = [sys.executable, "-c", FRESH, Path.cwd() / "nobody", Path.cwd() / "run", *COMMANDS]
    refused, *_, statuses = subprocess.run(
        command, cwd="elsewhere", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    ).stderr.splitlines()
    assert statuses == str([2, *[0] * len(COMMANDS)]), (
        "a process that has not run the file, of another user and of this"
    )
    assert re.search(
        r"has classes \(.*Checkers.*\) of \S+own\.py, which no command of yours has named .*--plugin", refused
    )


@pytest.mark.medium
def test_trials_are_measured_by_it(nas):
    nas("search", "own.py:evolved", "--out", "run", "--workers", "2")
    assert not Path("run/workers/0.log").read_text(), "the worker knows the classes, too"
    scores = [entry["score"] for entry in nas("show", "run")["ranked"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)


@pytest.mark.medium
def test_it_is_tuned_on_what_it_holds_out(nas):
    pytest.importorskip("optuna")
    found = nas("tune", "own.py:checkers", "--parameters", "distillation", "--trials", "2", "--small", "--out", "study")
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("whole", "broken", "said"),
    [
        ('return SimpleNamespace(name="checkers"', 'return SimpleNamespace(nam="checkers"[9]', "IndexError: "),
        ("return Flat(self.num_ids)", "return Flat(self.num_idss)", "AttributeError: .*num_idss"),
        ("self.embed(images.flatten(1))", "self.embed(images)", "RuntimeError: .*mat1 and mat2"),
        ("if len(data.identities) < 2:", "if data.identities:", "patterns must be at least two"),
    ],
)
def test_what_a_class_of_ones_own_raises_is_said_to_be_its_file_s(tmp_path, monkeypatch, capsys, whole, broken, said):
    monkeypatch.chdir(tmp_path)
    assert whole in OWN
    Path("own.py").write_text(OWN.replace(whole, broken))
    assert main(["run", "own.py:checkers", "--teacher", "None", "--strategy", "None", "--out", "run"]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert re.match(rf"nas: own\.py, line \d+: {said}", last) and not any("/nas/stages/" in line for line in lines)
