"""`--machine.compile` through whole commands: a run that is killed goes on to the bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from nas.system.weights import load_state
from nas.training.compiling import CACHE

OWN = """
import os
import signal
from dataclasses import replace

from nas.recipe import Recipe
from nas.training.stage import Loop
from runs.recipes.demo import toy
from search_spaces.shallow_cnn import ShallowCNN
from students.reid import ReID

steps, add = [], Loop.add

def counted(loop, losses):
    steps.append(1)
    if len(steps) == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    add(loop, losses)

Loop.add = counted

def own() -> Recipe:
    student = ReID(backbone=ShallowCNN(widths=(1 / 8,)), embedding_dim=8)
    return replace(toy(), space=student, baseline=None, teacher=None, strategy=None)
"""
FLAGS = ["--machine.compile", "--machine.device", "cpu", "--machine.threads", "1", "--machine.checkpoint-minutes", "0"]


@pytest.fixture
def own(tmp_path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}:own"


def ended(words: list[str], cache: Path, killed_at: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which is killed in a step, the first one being number 1."""
    environment = {**os.environ, CACHE: str(cache), "KILLED_AT": str(killed_at), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *words, *FLAGS]
    return subprocess.run(command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_compiled_training_that_is_killed_ends_as_if_nothing_had_happened(own, tmp_path):
    """It is killed in the second of its epochs, which have six steps."""
    folders = whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = ended(["run", own, "--out", str(whole)], tmp_path / "cache")
    assert done.returncode == 0 and "retrain: compiled in " in done.stderr, done.stderr
    command = ["run", own, "--out", str(killed)]
    died = ended(command, tmp_path / "cache", killed_at=9)
    assert died.returncode == -signal.SIGKILL, died.stderr
    state = load_state(killed / "retrain.ckpt")
    assert (state["epoch"], state["step"]) == (1, 2)
    resumed = ended(command, tmp_path / "cache")
    assert resumed.returncode == 0 and "retrain: compiled in " in resumed.stderr, resumed.stderr
    one, other = (load_file(folder / "student.safetensors") for folder in folders)
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    histories = [(folder / "retrain.history.jsonl").read_text() for folder in folders]
    assert histories[0] == histories[1]
