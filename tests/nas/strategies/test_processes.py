"""Two processes search together with each strategy that trains networks of its own."""

import json
import sys
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from nas.strategies import STRATEGIES
from nas.strategies.base import OneShotSearch, Score
from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.nni.strategies import NNIOneShot
from nas.strategies.single_path import SinglePath
from nas.strategies.smooth_darts import SmoothDARTS
from nas.training.machine import Machine
from nas.training.optimisers import Adam
from nas.training.stage import Stage
from search_spaces.cell import Cells
from students.reid import ReID
from tests.nas.strategies.toys import Classify, batch
from tests.ranks import ended, ranks

CELL = ReID(backbone=Cells(channels=4, cells=1, reductions=()), num_ids=4, embedding_dim=6)
NNI_NEEDS = {"nni:ENAS": "tianshou"}


def brief(strategy: OneShotSearch) -> OneShotSearch:
    """The same in a moment, with all that processes could do differently."""
    if isinstance(strategy, SinglePath):
        return replace(strategy, epochs=2, trials=4, population=2, sample=1, recalibration=1, num_retrained=2)
    if isinstance(strategy, NNIOneShot):
        return replace(strategy, epochs=2, alphas=Adam(lr=0.5), num_candidates=3, recalibration=1)
    return replace(strategy, epochs=2, alphas=Adam(lr=0.5))


ONE_SHOT = {
    **{name: brief(each) for name, each in STRATEGIES.items() if isinstance(each, OneShotSearch)},
    "single_path, fair": brief(SinglePath(fair=True)),
    "second order": DARTS(epochs=2, order=2, eigenvalue_every=1),
    "beta-decay, by perturbation": brief(DARTS(beta_decay=1.0, selection="perturbation", tuning_epochs=1)),
    "adversarial": brief(SmoothDARTS(perturbed="adversarial", num_ascents=1)),
}
NAMES = [
    name
    for name in ONE_SHOT
    if not name.startswith("nni:") or (find_spec("nni") and find_spec(NNI_NEEDS.get(name, "nni")))
]


class Own(Classify):
    """Each process has its own batches and measures its own values."""

    def __init__(self, rank: int) -> None:
        super().__init__(num_steps=2)
        self.rank = rank

    def weight_batches(self, epoch, start=0):
        return [batch(self.rank, 0, epoch, step) for step in range(start, self.num_steps)]

    def alpha_batches(self, epoch, start=0):
        return [batch(self.rank, 1, epoch, step) for step in range(start, self.num_steps)]

    def value(self, net):
        with torch.no_grad():
            pictures = batch(self.rank, 99)
            return -F.cross_entropy(net(pictures.images).logits, pictures.labels).item()

    def cost(self, architecture):
        return int(architecture.hash[:3], 16)

    def score(self, architecture, epochs, report=None):
        return Score(self.rank / 10, self.cost(architecture), 1.0 + self.rank)


class Kept(Stage):
    """A stage that keeps what its loop trained."""

    def loop(self, num_epochs, num_steps, parts):
        self.parts = parts
        return super().loop(num_epochs, num_steps, parts)


def digest(*tensors: torch.Tensor) -> str:
    return sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


def search(name: str, folder: Path, machine: Machine) -> dict[str, object]:
    """What this process has found, and what it holds at the end."""
    torch.manual_seed(0)
    stage = Kept(folder / name.replace(":", "-"), "search", "", machine, quiet=True)
    found = ONE_SHOT[name].search(CELL, Own(stage.fabric.global_rank), stage)
    supernet = stage.parts["supernet"]
    return {
        "name": name,
        "weights": digest(*supernet.parameters()),
        "statistics": digest(*supernet.buffers()),
        "draws": digest(torch.get_rng_state()),
        "ranked": [[score, architecture.hash] for score, architecture in found.ranked],
        "tried": [line["score"] for line in found.history if "score" in line],
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """By strategy, what each process has found."""
    folder = tmp_path_factory.mktemp("both")
    found = ended(ranks([__file__, str(folder)]))
    assert [each.status for each in found] == [0, 0], found
    lines = [[json.loads(line) for line in each.out.splitlines()] for each in found]
    return {one["name"]: (one, other) for one, other in zip(*lines, strict=True)}


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_with_batches_of_their_own_come_to_the_same(both, name):
    one, other = both[name]
    assert one == other and one["ranked"]


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_what_the_other_process_sees_counts(both, name, tmp_path):
    alone = search(name, tmp_path, Machine(device="cpu"))
    assert alone["weights"] != both[name][0]["weights"]
    if not isinstance(ONE_SHOT[name], DrNAS):  # whose Gamma variates take as many draws as their concentrations have it
        assert alone["draws"] == both[name][0]["draws"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in NAMES:
        print(json.dumps(search(each, Path(sys.argv[1]), Machine(device="cpu", devices=2))), flush=True)
