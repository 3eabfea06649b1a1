"""`nas pretrain`: killed and resumed to the bit, started from, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from nas.cli.main import main
from nas.training import pretraining
from nas.training.build import build_network
from nas.training.settings import Training
from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from students.reid import ReID

CELLS = Cells(channels=4, cells=2, reductions=(2,))
FLAGS = [
    "--strategy",
    "None",
    "--student.backbone.channels",
    "4",
    "--student.backbone.cells",
    "2",
    "--student.backbone.reductions",
    "2",
]
HOW = ["--pretraining.epochs", "2", "--pretraining.batch-size", "4", "--pretraining.size", "32"]


@pytest.fixture
def images(tmp_path):
    """Three classes, each of its own grey."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 2)):
        for label, name in enumerate(("bike", "car", "dog")):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = np.full((40, 40), 80 * label) + rng.integers(0, 60, (40, 40))
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / split / name / f"{i}.png")
    return tmp_path / "images"


def pretrain(images, folder, *flags):
    return main(
        ["pretrain", "evidence_labels", *FLAGS, *HOW, "--pretraining.data", str(images), "--out", str(folder), *flags]
    )


class Died(BaseException):
    """Nothing catches it."""


@pytest.mark.medium
def test_a_stopped_pretraining_goes_on_to_the_bit_and_a_network_starts_from_it(images, tmp_path, monkeypatch, capsys):
    assert pretrain(images, tmp_path / "whole") == 0
    assert "top-1" in capsys.readouterr().err
    step, calls = pretraining.training_step, []

    def dying(*given):
        calls.append(1)
        if len(calls) == 7:  # in the second epoch of four steps
            raise Died
        return step(*given)

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "training_step", dying)
        with pytest.raises(Died):
            pretrain(images, tmp_path / "stopped")
    assert pretrain(images, tmp_path / "stopped") == 0
    whole, resumed = (load_file(tmp_path / name / "pretrained.safetensors") for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys() and all(whole[name].equal(resumed[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "pretrain.history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1] and all(0 <= line["top1"] <= line["top5"] <= 1 for line in lines)

    file = str(tmp_path / "whole" / "pretrained.safetensors")
    space = ReID(backbone=CELLS, embedding_dim=8).with_ids(5)
    started = build_network(space, None, tuple(range(5)), Training(pretrained=file), seed=0).net.state_dict()
    backbone = [name for name in whole if name.startswith("backbone.")]
    assert backbone and all(started[name].equal(whole[name]) for name in backbone)


@pytest.mark.medium
def test_a_file_of_another_architecture_is_refused(images, tmp_path):
    space = ReID(backbone=CELLS, embedding_dim=8).with_ids(5)
    one, other = (space.sample(np.random.default_rng(seed)) for seed in (0, 1))
    (tmp_path / "one.json").write_text(json.dumps(Architecture("ReID", one.decisions).to_dict()))
    assert pretrain(images, tmp_path / "one", "--architecture", str(tmp_path / "one.json")) == 0
    training = Training(pretrained=str(tmp_path / "one" / "pretrained.safetensors"))
    build_network(space, one, tuple(range(5)), training, seed=0)
    with pytest.raises(ValueError, match="is of another architecture than the network: pretrain this one"):
        build_network(space, other, tuple(range(5)), training, seed=0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pretraining.batch-size", "40"], "an epoch needs at least 40 images"),
        (["--pretraining.data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_pretrained_is_said_before_any_work(images, tmp_path, capsys, flags, said):
    assert pretrain(images, tmp_path / "out", *flags) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out" / "pretrained.safetensors").exists()
