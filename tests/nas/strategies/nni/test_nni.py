"""NNI's strategies behind our Strategy: what each one keeps to, its choices against our supernet, what is refused."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.bench.tables import Questions
from nas.strategies import STRATEGIES
from nas.strategies.base import Score
from nas.strategies.discrete import search_alone
from nas.strategies.nni.install import quiet
from nas.strategies.nni.strategies import NNIMultiTrial, NNIOneShot
from nas.strategies.trials import Trial
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam
from nas.training.stage import Stage
from search_spaces.cell import Cells
from search_spaces.derive import derive, ranked
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.ksl import KSL
from students.reid import ReID
from tests.nas.strategies.toys import Memory

BY_CONTROLLER = find_spec("tianshou") is not None
needs_nni = pytest.mark.skipif(find_spec("nni") is None, reason="NNI is not installed")
CELL = Cells(channels=2, cells=1, reductions=())
TABLE = NASBench201(channels=1, cells=1, num_stages=1)
EACH_STEP = Machine(device="cpu", checkpoint_minutes=0.0)
ONE_SHOT = {
    name: replace(strategy, epochs=2, alphas=Adam(lr=0.5), num_candidates=3, num_ranked=5, recalibration=1)
    for name, strategy in STRATEGIES.items()
    if isinstance(strategy, NNIOneShot)
}
MULTI_TRIAL = {
    name: replace(strategy, trials=24, population=6, sample=3)
    for name, strategy in STRATEGIES.items()
    if isinstance(strategy, NNIMultiTrial)
}
if not BY_CONTROLLER:
    del ONE_SHOT["nni:ENAS"], MULTI_TRIAL["nni:PolicyBasedRL"]
ALPHAS = {name: strategy for name, strategy in ONE_SHOT.items() if strategy.learns_alphas}


class Pictures(NamedTuple):
    images: Tensor
    half: str


class Flat:
    """An objective of noise that remembers what it was asked, and may end the process's life at a loss."""

    num_steps = 2

    def __init__(self, die_at: int | None = None) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.die_at = die_at

    def batches(self, half: str, epoch: int, start: int) -> list[Pictures]:
        rng = torch.Generator().manual_seed(10 * epoch + len(half))
        images = torch.randn(self.num_steps, 4, 3, 32, 16, generator=rng)
        return [Pictures(each, half) for each in images[start:]]

    def weight_batches(self, epoch, start=0):
        return self.batches("weights", epoch, start)

    def alpha_batches(self, epoch, start=0):
        return self.batches("alphas", epoch, start)

    def loss(self, net, batch, epoch):
        return self.of("loss", net, batch, epoch)

    def alpha_loss(self, net, batch, epoch):
        return self.of("alpha_loss", net, batch, epoch)

    def of(self, name, net, batch, epoch):
        self.asked.append((name, batch.half, epoch))
        if len(self.asked) == self.die_at:
            raise KeyboardInterrupt
        out = net(batch.images)
        return {"total": (out["map"] if isinstance(out, dict) else out).square().mean()}

    def record(self, epoch):
        return {"temperature": 2.0 - epoch}

    def value(self, net):
        assert not net.training
        with torch.no_grad():
            return -net(self.batches("alphas", 9, 0)[0].images)["map"].square().mean().item()

    def cost(self, architecture):
        return float(int(architecture.hash[:4], 16))


class Agrees:
    """The share of decisions that are as a certain architecture's."""

    def __init__(self, space: SearchSpace, dies_after: int = 1000) -> None:
        self.target = space.sample(np.random.default_rng(7)).decisions
        self.asked: list = []
        self.dies_after = dies_after

    def score(self, architecture, epochs, report=None):
        if len(self.asked) == self.dies_after:
            raise KeyboardInterrupt
        self.asked.append((architecture, epochs))
        same = [answer == self.target.get(name) for name, answer in architecture.decisions.items()]
        return Score(float(np.mean(same)), 1.0, 30.0)


class Cut(nn.Module):
    out_channels = 3

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.scale * x


class Few(SearchSpace):
    """Six architectures."""

    def build(self, pick, c_in=3):
        pick.value("width", (1, 2))
        return pick.op("op", {"a": lambda: Cut(1.0), "b": lambda: Cut(2.0), "c": lambda: Cut(3.0)})


class Closed(SearchSpace):
    def build(self, pick, c_in=3):
        return pick.op("op", {"a": lambda: Cut(1.0)})


@pytest.fixture
def stage(tmp_path):
    fabric = Machine(device="cpu").fabric()
    return lambda name="run": Stage(tmp_path / name, "search", "", EACH_STEP, fabric)


def search(strategy, space, objective, stage, seed=0):
    torch.manual_seed(seed)
    return strategy.search(space, objective, stage)


@needs_nni
class TestOneShot:
    @pytest.mark.medium
    @pytest.mark.parametrize("strategy", ONE_SHOT.values(), ids=ONE_SHOT)
    def test_a_search_killed_and_gone_on_with_is_a_whole_one(self, strategy, stage):
        whole = search(strategy, CELL, Flat(), stage("whole"))
        with pytest.raises(KeyboardInterrupt):
            search(strategy, CELL, Flat(die_at=2 if strategy.algorithm == "RandomOneShot" else 3), stage("killed"))
        resumed = search(strategy, CELL, Flat(), stage("killed"), seed=1)  # which chance goes by only from the start
        assert (resumed.history, resumed.ranked, resumed.front) == (whole.history, whole.ranked, whole.front)
        self.check_result(strategy, whole)

    def check_result(self, strategy, found):
        assert len(found.history) == 2 and [line["temperature"] for line in found.history] == [2.0, 1.0]
        scores = [score for score, _ in found.ranked]
        assert scores == sorted(scores, reverse=True)
        for _, architecture in found.ranked:
            CELL.check(architecture)
        if strategy.learns_alphas:
            assert found.score == "log weight" and len(scores) == strategy.num_ranked
            assert found.history[0]["alphas"] != found.history[1]["alphas"]
            assert found.best.hash == found.history[-1]["predicted"]
        else:
            assert found.score == "mAP with shared weights" and len(scores) == strategy.num_candidates
            assert {architecture for _, _, architecture in found.front} <= set(found.costs)

    @pytest.mark.medium
    @pytest.mark.parametrize("strategy", ONE_SHOT.values(), ids=ONE_SHOT)
    def test_the_objective_is_ours_and_alphas_learn_on_their_own_half(self, strategy):
        objective = Flat()
        search(strategy, CELL, objective, InMemory())
        per_epoch = [("alpha_loss", "alphas"), ("loss", "weights")]
        if strategy.algorithm == "RandomOneShot":
            per_epoch = [("loss", "weights")]
        assert Counter(objective.asked) == Counter((*asked, epoch) for epoch in range(2) for asked in 2 * per_epoch)

    @pytest.mark.parametrize(
        "space",
        [
            MobileNetV2(width=0.1),
            ResNet(width=1 / 16),
            TABLE,
            KSL(main=ReID(backbone=ResNet(width=1 / 16), num_ids=6), branches=("layer4",)),
        ],
        ids=lambda space: type(space).__name__,
    )
    @pytest.mark.parametrize("strategy", ONE_SHOT.values(), ids=ONE_SHOT)
    def test_every_space_of_operations_is_served(self, strategy, space):
        strategy.check(space)

    @pytest.mark.parametrize("strategy", ONE_SHOT.values(), ids=ONE_SHOT)
    def test_a_width_is_refused_by_name(self, strategy):
        space = ReID(backbone=MobileNetV2(other_widths=(0.5,)), num_ids=4)
        with pytest.raises(ValueError, match=r"NNI cannot keep all of backbone\.width = \[1\.0, 0\.5\]: .*nni:TPE"):
            strategy.check(space)

    def test_nothing_open_is_refused(self):
        with pytest.raises(ValueError, match="leaves nothing open"):
            NNIOneShot().check(Closed())

    @pytest.mark.medium
    @pytest.mark.parametrize("strategy", ALPHAS.values(), ids=ALPHAS)
    def test_alphas_rest_while_warming_up(self, strategy):
        objective = Flat()
        history = search(replace(strategy, warmup_epochs=1), CELL, objective, InMemory()).history
        assert len(set(history[0]["alphas"]["normal.2<0"].values())) > 1
        assert max(history[0]["alphas"]["normal.2<0"].values()) < 0.2 < max(history[1]["alphas"]["normal.2<0"].values())
        assert {epoch for name, _, epoch in objective.asked if name == "alpha_loss"} == {1}

    def test_minutes_are_a_budget(self):
        assert len(search(replace(ONE_SHOT["nni:DARTS"], minutes=1.0), CELL, Flat(), InMemory()).history) == 1

    def test_weights_are_clipped(self):
        moved = []
        for clip in (1e-4, None):
            steps = steps_of(NNIOneShot(clip=clip, weights=SGD(lr=1.0, momentum=0.0, weight_decay=0.0)))
            weights = [p for group in steps.optimisers["weights"].param_groups for p in group["params"]]
            before = [weight.detach().clone() for weight in weights]
            steps.step(*(Flat().batches(half, 0, 0)[0] for half in ("weights", "alphas")))
            moved.append(torch.cat([(w - old).flatten() for w, old in zip(weights, before, strict=True)]).norm().item())
        assert moved[0] == pytest.approx(1e-4, rel=1e-2) and moved[1] > 1e-3

    def test_the_temperature_of_gumbel_falls(self):
        steps = steps_of(replace(ONE_SHOT["nni:GumbelDARTS"], epochs=4))
        softmax = steps.supernet.choices()["normal.2<0"][0]._softmax
        taus = []
        for epoch in range(4):
            steps.begin_epoch(epoch)
            taus.append(softmax.tau)
        assert taus == pytest.approx(np.linspace(1.0, 0.33, 5)[:4])


class InMemory(Memory):
    """A stage in memory, with the steps of an epoch."""

    def prepare(self, net):
        return net

    def autocast(self):
        return torch.autocast("cpu", enabled=False)

    def mean(self, gradients):
        return gradients

    def add(self, losses, prefix="loss"):
        assert losses["total"].isfinite()

    now = 0.0

    def limit(self, minutes):
        if minutes is not None:
            self.stop("every minute is over at once")

    def steps(self, batches):
        return iter(batches(0))


def steps_of(strategy: NNIOneShot, space: SearchSpace = CELL):
    with quiet():
        from nas.strategies.nni.choices import NNISupernet
        from nas.strategies.nni.one_shot import Steps
    torch.manual_seed(0)
    return Steps(strategy, NNISupernet(space, strategy), Flat(), InMemory())


@needs_nni
class TestChoices:
    """NNI's DARTS on our choices is our supernet, computed the plain way."""

    @pytest.fixture
    def pair(self):
        theirs = steps_of(NNIOneShot()).supernet.train()
        ours = Supernet.of(CELL, folded=False).train()
        of_alphas = {id(alpha) for alpha in theirs.architecture_parameters()}
        weights = [p for p in theirs.parameters() if id(p) not in of_alphas]
        with torch.no_grad():
            for own, other in zip(ours.net.parameters(), weights, strict=True):
                own.copy_(other)
            for alpha in theirs.architecture_parameters():
                alpha.normal_()
        ours.set_alphas(theirs.alphas())
        return ours, theirs

    def test_it_has_our_decisions_and_counts_zero_among_the_edges_options(self, pair):
        ours, theirs = pair
        assert theirs.options == ours.options and theirs.nodes == ours.nodes
        assert theirs.options["normal.2<0"][-1] == "none"

    def test_outputs_and_gradients_are_the_same(self, pair):
        ours, theirs = pair
        images = torch.randn(4, 3, 32, 16)
        outputs = [net(images)["map"] for net in pair]
        torch.testing.assert_close(outputs[1], outputs[0])
        for out in outputs:
            out.square().mean().backward()
        gradients = torch.nn.utils.rnn.pad_sequence(
            [p.grad for p in theirs.architecture_parameters()], batch_first=True
        )
        torch.testing.assert_close(gradients, ours.alpha.grad, rtol=1e-3, atol=1e-6)

    def test_architectures_are_derived_by_our_rule(self, pair):
        ours, theirs = pair
        assert derive(theirs) == derive(ours)
        (one, first), (other, second) = next(ranked(theirs)), next(ranked(ours))
        assert first == second and one == pytest.approx(other, rel=1e-5)

    def test_a_path_computes_what_it_keeps_and_nothing_else(self):
        steps = steps_of(ONE_SHOT["nni:RandomOneShot"])
        sample = steps.supernet.take_by_chance()
        ran = []
        for name, modules in steps.supernet.choices().items():
            modules[0].register_forward_hook(lambda *_, name=name: ran.append(name))
        steps.supernet(torch.randn(2, 3, 32, 16))
        kept = [
            f"normal.{node}<{source}"
            for node in range(2, 6)
            for source in sample.get(f"normal.{node}.inputs", "0+1").split("+")
        ]
        assert sorted(name for name in ran if "<" in name) == sorted(kept) and len(kept) == 8

    def test_paths_are_drawn_alike(self):
        supernet = steps_of(ONE_SHOT["nni:RandomOneShot"]).supernet
        drawn = Counter(supernet.take_by_chance()["normal.5.inputs"] for _ in range(300))
        assert set(drawn) == set(supernet.options["normal.5.inputs"]) and max(drawn.values()) < 3 * min(drawn.values())


@needs_nni
@pytest.mark.parametrize("strategy", MULTI_TRIAL.values(), ids=MULTI_TRIAL)
class TestMultiTrial:
    def test_a_proposal_depends_on_what_is_told_alone(self, strategy):
        told = search_alone(strategy, TABLE, Agrees(TABLE), seed=0)
        for trial in reversed(told):
            before = [read_again(each) for each in told[: trial.number]]
            assert propose(strategy, trial.number, before).architecture == trial.architecture
        other = search_alone(replace(strategy, trials=3), TABLE, Agrees(TABLE), seed=1)
        same = [trial.architecture for trial in other] == [trial.architecture for trial in told[:3]]
        assert same == (strategy.algorithm == "GridSearch")

    @pytest.mark.parametrize("places", [[], [5], [23, 2, 7, 14, 3, 9, 8]], ids=["nothing", "one", "some"])
    def test_some_of_the_trials_in_any_order_are_enough(self, strategy, places):
        trials = search_alone(strategy, TABLE, Agrees(TABLE), seed=0)
        proposal = propose(strategy, 30, [trials[place] for place in places])
        TABLE.check(proposal.architecture)
        if strategy.algorithm != "TPE":  # which has no memory for what it need not try again
            assert proposal.architecture not in {trials[place].architecture for place in places}

    @pytest.mark.medium
    @pytest.mark.parametrize(
        "space",
        [
            CELL,
            MobileNetV2(width=0.1, other_widths=(0.5,)),
            ResNet(width=1 / 16),
            KSL(main=ReID(backbone=ResNet(width=1 / 16), num_ids=6), branches=("layer4",)),
        ],
        ids=lambda space: type(space).__name__,
    )
    def test_every_space_is_served(self, strategy, space):
        objective = Agrees(space)
        tried = search_alone(replace(strategy, trials=3, epochs=7), space, objective, seed=0)
        assert len(tried) == 3 and {epochs for _, epochs in objective.asked} == {7}
        for architecture, _ in objective.asked:
            space.check(architecture)

    def test_the_global_generators_are_left_alone(self, strategy):
        torch.manual_seed(3)
        np.random.seed(3)
        before = torch.get_rng_state(), np.random.get_state()[1]
        search_alone(strategy, TABLE, Agrees(TABLE), seed=0)
        assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()

    def test_a_space_can_be_tried_out(self, strategy):
        objective = Agrees(Few())
        tried = search_alone(replace(strategy, trials=40), Few(), objective, seed=0)
        nothing_twice = strategy.algorithm in ("GridSearch", "Random", "RegularizedEvolution")
        assert len(tried) == (6 if nothing_twice else 40) and len(objective.asked) <= 6
        if nothing_twice:
            assert max(trial.score.value for trial in tried) == 1


def read_again(trial: Trial) -> Trial:
    """The trial after its notes were written and read as JSON."""
    return replace(trial, notes=json.loads(json.dumps(trial.notes)))


def propose(strategy, number, told):
    return replace(strategy).propose(TABLE, number, told, np.random.default_rng([0, number]))


@pytest.mark.medium
@needs_nni
@pytest.mark.parametrize("name", ["nni:RegularizedEvolution", "nni:TPE"])
def test_learning_beats_chance(name):
    space = Questions.of(TABLE)

    def best(name: str, seed: int) -> float:
        tried = search_alone(replace(MULTI_TRIAL[name], trials=60), space, Agrees(space), seed)
        return max(trial.score.value for trial in tried)

    assert np.mean([best(name, seed) for seed in range(8)]) > np.mean([best("nni:Random", seed) for seed in range(8)])


def not_installed(name):
    raise PackageNotFoundError


@pytest.mark.parametrize(("version", "found"), [(not_installed, "none"), (lambda name: "2.10", r"2\.10")])
@pytest.mark.parametrize("strategy", [NNIOneShot(), NNIMultiTrial()], ids=["DARTS", "Random"])
def test_nni_absent_or_of_another_version(monkeypatch, strategy, version, found):
    monkeypatch.setattr("nas.strategies.nni.install.version", version)
    message = rf"nni:{strategy.algorithm} needs NNI 3\.0 \(found {found}\): pip install 'nas-reid\[nni\]'"
    with pytest.raises(ValueError, match=message):
        strategy.check(TABLE)
    if isinstance(strategy, NNIOneShot):
        with pytest.raises(ValueError, match=message):
            strategy.search(TABLE, Flat(), InMemory())


@pytest.mark.parametrize(
    "strategy", [NNIOneShot(algorithm="ENAS"), NNIMultiTrial(algorithm="PolicyBasedRL")], ids=["ENAS", "PolicyBasedRL"]
)
def test_what_a_controller_needs_is_said(monkeypatch, strategy):
    monkeypatch.setattr("nas.strategies.nni.install.version", lambda name: "3.0")
    monkeypatch.setattr("nas.strategies.nni.install.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=f"nni:{strategy.algorithm} needs tianshou and gym.*pip install tianshou==0.4.11"
    ):
        strategy.check(TABLE)


@pytest.mark.parametrize(
    ("kind", "wrong", "named"),
    [
        (NNIOneShot, {"algorithm": "darts"}, "one of DARTS, "),
        (NNIOneShot, {"epochs": 0}, "epochs must be at least 1"),
        (NNIOneShot, {"warmup_epochs": 200}, "must be below epochs, 200"),
        (NNIOneShot, {"num_candidates": 0}, "at least 1"),
        (NNIMultiTrial, {"algorithm": "DARTS"}, "one of Random, "),
        (NNIMultiTrial, {"trials": 0}, "at least 1"),
        (NNIMultiTrial, {"sample": 30}, "must be at most the population, 20"),
    ],
)
def test_wrong_settings_are_named(kind, wrong, named):
    with pytest.raises(ValueError, match=named):
        kind(**wrong)


QUIETLY = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_nni import ALPHAS, CELL, MULTI_TRIAL, TABLE, Agrees, Flat, InMemory, search_alone
assert "nni" not in sys.modules
ALPHAS["nni:DARTS"].search(CELL, Flat(), InMemory())
search_alone(MULTI_TRIAL["nni:TPE"], TABLE, Agrees(TABLE), 0)
assert "nni" in sys.modules
"""


@needs_nni
@pytest.mark.slow
def test_nni_is_imported_late_says_nothing_and_leaves_no_files(tmp_path):
    """Not in this process, where NNI is imported already."""
    here, folders = Path(__file__), {name: tmp_path / name for name in ("home", "work", "plots")}
    for folder in folders.values():
        folder.mkdir()
    environment = {
        **os.environ,
        "HOME": str(folders["home"]),
        "MPLCONFIGDIR": str(folders["plots"]),
        "PYTHONPATH": str(here.parents[4]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", QUIETLY.format(folder=str(here.parent))],
        cwd=folders["work"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(folders["home"].iterdir()) and not list(folders["work"].iterdir())
