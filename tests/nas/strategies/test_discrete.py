"""What every discrete strategy must do. A new one joins with its line in STRATEGIES of `nas/strategies/__init__.py`."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning.fabric
import numpy as np
import pytest
import torch

import nas.strategies
from nas.bench.tables import Memory
from nas.strategies.base import Score
from nas.strategies.board import Board, Trial
from nas.strategies.discrete import DiscreteSearch, front, ranked
from nas.strategies.evolution import Evolution, mutated
from nas.strategies.nni.strategies import NNIMultiTrial
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.random_search import RandomSearch
from nas.strategies.reinforce import Policy, Reinforce, softmax
from nas.system.journal import FileJournal
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.ksl import KSL
from students.reid import ReID

TRIALS = 12  # Optuna's models begin behind ten
BRIEF = {"trials": TRIALS, "population": 4, "sample": 2}
STRATEGIES = {
    name: replace(strategy, **{field: value for field, value in BRIEF.items() if hasattr(strategy, field)})
    for name, strategy in nas.strategies.STRATEGIES.items()
    if isinstance(strategy, DiscreteSearch) and not isinstance(strategy, NNIMultiTrial)
}
SPACES = {
    "cells": Cells(channels=3, cells=2, reductions=(2,)),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "resnet": ResNet(width=1 / 16),
    "ksl": KSL(main=ReID(backbone=ResNet(width=1 / 16), num_ids=6), branches=("layer4",)),
}
SMALL = NASBench201(channels=1, cells=1, num_stages=1)


class Agrees:
    """The share of decisions that are as a certain architecture's: plain to see, and good strategies find more."""

    def __init__(self, space: SearchSpace, dies_after: int = 1000) -> None:
        self.target = space.sample(np.random.default_rng(7)).decisions
        self.asked: list[tuple[Architecture, int]] = []
        self.dies_after = dies_after

    def score(self, architecture: Architecture, epochs: int, report=None) -> Score:
        if len(self.asked) == self.dies_after:
            raise KeyboardInterrupt
        self.asked.append((architecture, epochs))
        same = [answer == self.target.get(name) for name, answer in architecture.decisions.items()]
        return Score(float(np.mean(same)), int(architecture.hash[:4], 16), 30.0)


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param]


def search(strategy, space=SMALL, objective=None, stage=None, seed=0):
    torch.manual_seed(seed)
    return strategy.search(space, objective or Agrees(space), stage or Memory())


def tried_once(found) -> list[Architecture]:
    """What was tried, each architecture once."""
    return list(dict.fromkeys(Trial.from_dict(line).architecture for line in found.history))


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_served(strategy, space):
    space = SPACES[space]
    objective = Agrees(space)
    found = search(replace(strategy, trials=3, epochs=7), space, objective)
    assert len(found.history) == 3 and {epochs for _, epochs in objective.asked} == {7}
    for architecture, _ in objective.asked:
        space.check(architecture)
    assert len(objective.asked) > 1


def test_the_best_is_the_best_of_what_was_tried(strategy):
    objective = Agrees(SMALL)
    found = search(strategy, objective=objective)
    scores = {a: objective.score(a, 1).value for a, _ in list(objective.asked)}
    assert found.ranked[0][0] == max(scores.values()) == scores[found.best] == found.history[-1]["best"]
    assert sorted((value for value, _ in found.ranked), reverse=True) == [value for value, _ in found.ranked]
    assert {a: value for value, a in found.ranked} == scores
    assert len(search(replace(strategy, trials=3, num_ranked=2)).ranked) == 2


def test_the_seed_decides(strategy):
    one, again = (search(strategy, seed=1) for _ in range(2))
    assert (one.history, one.ranked, one.front) == (again.history, again.ranked, again.front)
    assert one.history[:3] != search(replace(strategy, trials=3), seed=2).history


def test_a_killed_search_goes_on_as_if_it_had_not_been(strategy, tmp_path):
    fabric = lightning.fabric.Fabric(accelerator="cpu", devices=1)

    def stage(name: str) -> Stage:
        return Stage(tmp_path / name, "search", "", Machine(device="cpu"), fabric)

    whole = search(strategy, stage=stage("whole"))
    with pytest.raises(KeyboardInterrupt):
        search(strategy, objective=Agrees(SMALL, dies_after=6), stage=stage("killed"))
    rest = Agrees(SMALL)
    resumed = search(strategy, objective=rest, stage=stage("killed"))
    assert (resumed.history, resumed.ranked, resumed.front) == (whole.history, whole.ranked, whole.front)
    assert [architecture for architecture, _ in rest.asked] == tried_once(whole)[6:]
    files = [(tmp_path / name / "search.history.jsonl").read_text() for name in ("whole", "killed")]
    assert files[0] == files[1] and len(json.loads(files[0].splitlines()[0])) == 6


def test_another_past_is_refused(strategy):
    stage = Memory()
    search(replace(strategy, trials=2), stage=stage, seed=1)
    with pytest.raises(ValueError, match="cannot go on: trial 0 .*--overwrite"):
        search(strategy, stage=stage, seed=2)


def test_minutes_are_a_budget(strategy):
    found = search(replace(strategy, minutes=2.0))
    seconds = [line["seconds"] for line in found.history]
    assert sum(seconds) == 120 and sum(seconds[:-1]) < 120


def test_a_search_ends_when_all_is_tried():
    class Few(RandomSearch):
        def proposer(self, space, rng):
            chance = super().proposer(space, rng)
            return SimpleNamespace(ask=lambda number: chance.ask(number) if number < 3 else None, tell=chance.tell)

    found = search(Few(trials=8))
    assert len(found.history) == len(found.ranked) == 3


def test_what_comes_up_again_is_not_trained_again():
    objective = Agrees(SMALL)
    found = search(Evolution(trials=60, population=2, sample=1), objective=objective)
    asked = [architecture for architecture, _ in objective.asked]
    assert len(found.history) == 60 > len(asked) == len(set(asked))
    assert sum(line["seconds"] for line in found.history) == 30 * len(asked)
    assert [line["cost"] for line in found.history if line["seconds"] == 0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"trials": 0}, "at least 1"), ({"epochs": 0}, "at least 1"), ({"minutes": 0.0}, "minutes must be above 0")],
)
def test_a_budget_of_zero_is_refused(strategy, wrong, named):
    with pytest.raises(ValueError, match=named):
        replace(strategy, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Evolution(sample=30),
        lambda: Evolution(sample=0),
        lambda: Reinforce(lr=0.0),
        lambda: Reinforce(memory=1.0),
        lambda: OptunaSearch(sampler="cmaes"),
        lambda: OptunaSearch(population=1),
        lambda: Score(float("nan"), 0, 0),
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match="must be|at least 2"):
        wrong()


def test_a_space_with_nothing_open_is_refused(strategy):
    class Closed(SearchSpace):
        def build(self, pick, c_in=3):
            return torch.nn.Identity()

    with pytest.raises(ValueError, match="Closed leaves nothing open"):
        search(strategy, Closed())


def test_a_mutation_changes_one_decision():
    rng = np.random.default_rng(0)
    for space in (SMALL, SPACES["mobilenet_v2"], SPACES["cells"]):
        parent = space.sample(rng)
        for _ in range(8):
            child = mutated(space, parent, rng)
            assert sum(child.decisions[name] != answer for name, answer in parent.decisions.items()) == 1


def test_evolution_is_its_naive_loop():
    """Of three among the last four trials the best is one of the two best: a child is one decision away from it."""
    found = search(Evolution(trials=40, population=4, sample=3))
    tried = [Trial.from_dict(line) for line in found.history]
    for place in range(4, 40):
        second = sorted(trial.score.value for trial in tried[place - 4 : place])[2]
        parents = [trial.architecture.decisions for trial in tried[place - 4 : place] if trial.score.value >= second]
        child = tried[place].architecture.decisions
        assert 1 in [sum(parent[name] != child[name] for name in child) for parent in parents]


def test_the_front_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    tried = [Trial(Architecture("", {"i": i}), Score(*map(float, rng.integers(6, size=2)), 0.0)) for i in range(40)]
    beaten = {
        a
        for a in tried
        for b in tried
        if b.score.value >= a.score.value
        and b.score.cost <= a.score.cost
        and (b.score.value, b.score.cost) != (a.score.value, a.score.cost)
    }
    expected = sorted({(trial.score.value, trial.score.cost) for trial in tried if trial not in beaten})
    assert [point[:2] for point in front(tried)] == expected
    assert ranked(tried)[0][0] == max(trial.score.value for trial in tried)


def test_the_policy_climbs_the_log_probability():
    policy = Policy(np.random.default_rng(0))
    policy.logits = {"a": np.array([0.3, -0.2, 1.0])}
    drawn = ["xyz".index(policy.suggest_categorical("a", "xyz")) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4000, softmax(policy.logits["a"]), atol=0.03)
    logits = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    torch.log_softmax(logits, 0)[drawn[-1]].backward()
    policy.ascend(policy.drawn, 0.7)
    np.testing.assert_allclose(policy.logits["a"], (logits + 0.7 * logits.grad).detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["evolution", "reinforce"])
def test_learning_beats_chance(name):
    """Over some seeds together, on a score that is the sum of its decisions' shares."""
    strategies = [replace(STRATEGIES[which], trials=40) for which in (name, "random")]
    learnt, chance = (np.mean([search(one, seed=seed).ranked[0][0] for seed in range(3)]) for one in strategies)
    assert learnt > chance


def test_optuna_can_be_absent(monkeypatch):
    monkeypatch.setattr("nas.strategies.optuna_search.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"tpe needs Optuna: pip install 'nas-reid\[tune\]'"):
        search(STRATEGIES["tpe"])


class Shared(Memory):
    """A stage in memory of its own whose journal is a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def journal(self) -> FileJournal:
        return FileJournal(self.path)


class Slow(Agrees):
    """Lets other workers come by while it scores."""

    def score(self, architecture, epochs, report=None):
        time.sleep(0.01)
        return super().score(architecture, epochs)


@pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning"
)  # which the strategy silences, but for one thread
def test_workers_share_the_trials(strategy, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.strategies.discrete.POLL_S", 0.001)
    objectives = [Slow(SMALL) for _ in range(3)]
    torch.manual_seed(0)
    with ThreadPoolExecutor(3) as pool:
        works = [
            pool.submit(strategy.search, SMALL, objective, Shared(tmp_path / "trials.jsonl"))
            for objective in objectives
        ]
    found = [work.result() for work in works]
    assert all(one.history == found[0].history and one.ranked == found[0].ranked for one in found)
    asked = [architecture for objective in objectives for architecture, _ in objective.asked]
    assert len(found[0].history) == TRIALS and sorted(a.hash for a in asked) == sorted(
        a.hash for a in tried_once(found[0])
    )
    assert sum(bool(objective.asked) for objective in objectives) > 1


def test_a_dead_workers_trial_is_tried_again(strategy, tmp_path):
    def board() -> Board:
        return Board(strategy.proposer(SMALL, np.random.default_rng(0)), FileJournal(tmp_path / "trials.jsonl"), TRIALS)

    dead, living = board(), board()
    lost, own = dead.claim(), living.claim()
    assert (lost[0], own[0]) == (0, 1)
    living.tell(1, Score(0.5, 1.0, 1.0))
    dead.journal.release(0)  # as the kernel does when it dies
    assert living.claim() == lost


def test_poor_trials_stop_early_and_rank_last(strategy):
    """Of nine epochs the objective reports each; what it says at a stop is not compared with what others reached."""

    class Climbs(Agrees):
        def score(self, architecture, epochs, report=None):
            whole = super().score(architecture, epochs)
            trained = next((epoch for epoch in range(1, 10) if report(epoch, whole.value + epoch)), 9)
            return replace(whole, value=whole.value + trained, pruned=trained < 9)

    found = search(replace(strategy, epochs=9, pruning="halving"), objective=Climbs(SMALL))
    stopped = [line.get("pruned", False) for line in found.history]
    assert 0 < sum(stopped) < TRIALS and not stopped[0]
    best = max(line["score"] for line, early in zip(found.history, stopped, strict=True) if not early)
    assert found.ranked[0][0] == best == found.history[-1]["best"] and all(value > 9 for value, *_ in found.front)
    with pytest.raises(ValueError, match="--strategy.epochs 2 or more"):
        replace(strategy, epochs=1, pruning="hyperband")
