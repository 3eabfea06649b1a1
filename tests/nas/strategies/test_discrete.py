"""What every discrete strategy must do. A new one joins with its line in STRATEGIES of `nas/strategies/__init__.py`."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import optuna
import pytest
import torch

import nas.strategies
from nas.strategies.base import Score
from nas.strategies.discrete import DiscreteSearch, search_alone
from nas.strategies.evolution import Evolution, mutated
from nas.strategies.nni.strategies import NNIMultiTrial
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.proxies import ProxyName
from nas.strategies.proxy_search import ProxySearch
from nas.strategies.random_search import RandomSearch
from nas.strategies.reinforce import Policy, Reinforce, softmax
from nas.strategies.trials import Trial, found, front, ranked
from nas.study.place import Store, store_of
from nas.study.searching import search_by_trials
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
TRAINING = {name: strategy for name, strategy in STRATEGIES.items() if strategy.trains}
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

    def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
        """As good as the score, and asked for in place of it: with no epochs."""
        return self.score(architecture, 0)


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param]


@pytest.fixture
def stage(tmp_path):
    fabric = Machine(device="cpu").fabric()
    return lambda name="run": Stage(tmp_path / name, "search", "", Machine(device="cpu"), fabric)


def search(strategy, space=SMALL, objective=None, seed=0) -> list[Trial]:
    return search_alone(strategy, space, objective or Agrees(space), seed)


def search_in(stage, strategy, objective=None, store=None):
    """A search through the engine, whose store is `store` or a file in the stage's folder."""
    torch.manual_seed(0)
    return search_by_trials(
        strategy, SMALL, objective or Agrees(SMALL), stage, Store(str(store or stage.folder / "search.journal"))
    )


def propose(strategy, number, told):
    return strategy.propose(SMALL, number, told, np.random.default_rng([0, number]))


def once(tried) -> list[Architecture]:
    """What was tried, each architecture once."""
    return list(dict.fromkeys(trial.architecture for trial in tried))


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_served(strategy, space):
    space = SPACES[space]
    objective = Agrees(space)
    epochs = 7 if strategy.trains else 0
    tried = search(replace(strategy, trials=3, epochs=epochs), space, objective)
    assert [trial.number for trial in tried] == [0, 1, 2] and {asked for _, asked in objective.asked} == {epochs}
    for architecture, _ in objective.asked:
        space.check(architecture)
    assert len(objective.asked) > 1


def test_a_proposal_depends_on_its_arguments_alone(strategy):
    """Asked from the last to the first, of another object, with notes that were written and read as JSON."""
    told = search(strategy)
    for trial in reversed(told):
        before = [replace(each, notes=json.loads(json.dumps(each.notes))) for each in told[: trial.number]]
        again = propose(replace(strategy), trial.number, before)
        assert again.architecture == trial.architecture
        assert json.dumps(again.notes) == json.dumps(trial.notes)
    assert once(told[:3]) != once(search(replace(strategy, trials=3), seed=1))


@pytest.mark.parametrize("places", [[], [5], [11, 2, 7, 10, 3, 9, 8]], ids=["nothing", "one", "some"])
def test_some_of_the_trials_in_any_order_are_enough(strategy, places):
    trials = search(strategy)
    one, again = (propose(strategy, TRIALS + 3, [trials[place] for place in places]) for _ in range(2))
    SMALL.check(one.architecture)
    assert one == again


def test_the_best_is_the_best_of_what_was_tried(strategy):
    objective = Agrees(SMALL)
    tried = search(strategy, objective=objective)
    scores = {a: objective.score(a, 1).value for a, _ in list(objective.asked)}
    result = found(tried, [], num_ranked=20)
    assert result.ranked[0][0] == max(scores.values()) == scores[result.best]
    assert sorted((value for value, _ in result.ranked), reverse=True) == [value for value, _ in result.ranked]
    assert {a: value for value, a in result.ranked} == scores
    assert len(found(tried[:3], [], num_ranked=2).ranked) == 2


def test_a_killed_search_goes_on_as_if_it_had_not_been(strategy, stage, tmp_path):
    tried = search(strategy)
    whole = search_in(stage("whole"), strategy)
    lines = [Trial.from_dict(line, line["trial"]) for line in whole.history]
    assert lines == [replace(trial, notes={}) for trial in tried]
    with pytest.raises(KeyboardInterrupt):
        search_in(stage("killed"), strategy, Agrees(SMALL, dies_after=6))
    rest = Agrees(SMALL)
    resumed = search_in(stage("killed"), strategy, rest)
    assert (resumed.history, resumed.ranked, resumed.front) == (whole.history, whole.ranked, whole.front)
    assert [architecture for architecture, _ in rest.asked] == once(tried)[6:]
    files = [(tmp_path / name / "search.history.jsonl").read_text() for name in ("whole", "killed")]
    line = json.loads(files[0].splitlines()[0])
    assert files[0] == files[1] and len(line) == 7 + ("measure" in line)
    assert line.get("measure", "mAP") == whole.score == strategy.measure


def test_minutes_are_a_budget(strategy):
    seconds = [trial.score.seconds for trial in search(replace(strategy, minutes=2.0))]
    assert sum(seconds) == 120 and sum(seconds[:-1]) < 120


def test_a_search_ends_when_all_is_tried():
    class Few(RandomSearch):
        def propose(self, space, number, told, rng):
            return super().propose(space, number, told, rng) if number < 3 else None

    assert len(search(Few(trials=8))) == 3


def test_what_comes_up_again_is_not_trained_again():
    objective = Agrees(SMALL)
    tried = search(Evolution(trials=60, population=2, sample=1), objective=objective)
    asked = [architecture for architecture, _ in objective.asked]
    assert len(tried) == 60 > len(asked) == len(set(asked))
    assert sum(trial.score.seconds for trial in tried) == 30 * len(asked)
    assert [trial.score.cost for trial in tried if trial.score.seconds == 0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"trials": 0}, "at least 1"), ({"minutes": 0.0}, "minutes must be above 0")],
)
def test_a_budget_of_zero_is_refused(strategy, wrong, named):
    with pytest.raises(ValueError, match=named):
        replace(strategy, **wrong)


@pytest.mark.parametrize("strategy", TRAINING.values(), ids=TRAINING)
def test_a_trial_that_trains_has_an_epoch(strategy):
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        replace(strategy, epochs=0)


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
    tried = search(Evolution(trials=40, population=4, sample=3))
    for place in range(4, 40):
        second = sorted(trial.score.value for trial in tried[place - 4 : place])[2]
        parents = [trial.architecture.decisions for trial in tried[place - 4 : place] if trial.score.value >= second]
        child = tried[place].architecture.decisions
        assert 1 in [sum(parent[name] != child[name] for name in child) for parent in parents]


class TestWarmStart:
    evolution = Evolution(trials=TRIALS, population=4, sample=2, warm_start="synflow", warm_draws=5)

    class Asked(Agrees):
        """Remembers what a proxy was asked about, apart from what is trained."""

        def __init__(self, space: SearchSpace, dies_after: int = 1000) -> None:
            super().__init__(space, dies_after)
            self.estimated: list[Architecture] = []

        def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
            assert proxy == "synflow"
            self.estimated.append(architecture)
            return Agrees(SMALL).score(architecture, 0)

    def test_each_of_the_first_population_is_the_best_of_draws_of_its_own(self):
        objective = self.Asked(SMALL)
        tried = search(self.evolution, objective=objective)
        for number, trial in enumerate(tried[:4]):
            rng = np.random.default_rng([0, number])
            drawn = [SMALL.sample(rng) for _ in range(5)]
            assert objective.estimated[5 * number :][:5] == drawn
            assert trial.architecture == max(drawn, key=lambda each: Agrees(SMALL).score(each, 0).value)
        assert len(objective.estimated) == 20 and len(tried) == TRIALS

    def test_children_are_those_of_the_population_that_it_began(self):
        tried = search(self.evolution, objective=self.Asked(SMALL))
        plain = replace(self.evolution, warm_start=None)
        assert all(propose(plain, place, tried[:place]).architecture == tried[place].architecture for place in (4, 9))

    def test_a_killed_one_goes_on(self, stage):
        whole = search_in(stage("whole"), self.evolution, self.Asked(SMALL))
        for dies_after in (2, 5):
            with pytest.raises(KeyboardInterrupt):
                search_in(stage("killed"), self.evolution, self.Asked(SMALL, dies_after))
        assert search_in(stage("killed"), self.evolution, self.Asked(SMALL)).history == whole.history


@pytest.mark.parametrize("wrong", [{"epochs": 1}, {"pruning": "halving"}, {"proxy": "params"}])
def test_a_search_by_proxy_trains_nothing(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        ProxySearch(**wrong)


def test_the_front_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    tried = [Trial(i, Architecture("", {"i": i}), Score(*map(float, rng.integers(6, size=2)), 0.0)) for i in range(40)]
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


def test_the_front_is_of_all_that_is_weighed():
    """The cheapest, the one with the best score, and the one that is best in what is further."""
    scores = [(3.0, 1.0, 5.0), (5.0, 2.0, 1.0), (3.0, 3.0, 9.0), (3.0, 3.0, 8.0), (2.0, 1.0, 5.0), (1.0, 2.0, 0.5)]
    tried = [
        Trial(place, Architecture("", {"i": place}), Score(value, cost, 0.0, further={"other": other}))
        for place, (value, cost, other) in enumerate(scores)
    ]
    assert [architecture.decisions["i"] for *_, architecture in front(tried)] == [0, 1, 2]
    assert front(tried)[2][:2] == (3.0, 3.0)
    result = found(tried, [], 2)
    assert result.further[tried[2].architecture] == {"other": 9.0}
    lines = [json.loads(json.dumps(trial.to_dict())) for trial in tried]
    assert [Trial.from_dict(line, place) for place, line in enumerate(lines)] == tried
    with pytest.raises(ValueError, match="finite"):
        Score(1.0, 1.0, 0.0, further={"other": float("nan")})


class WeighsAnother(Agrees):
    """Of which a second score is the better, the less the first is."""

    def score(self, architecture, epochs, report=None):
        score = super().score(architecture, epochs, report)
        return replace(score, further={"other": 1.0 - score.value})


def test_nsga2_has_an_objective_for_all_that_is_weighed(stage, monkeypatch):
    directions = []
    create = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **how: directions.append(how.get("directions")) or create(**how))
    strategy = replace(STRATEGIES["nsga2"], trials=TRIALS, population=4)
    result = search_in(stage("three"), strategy, WeighsAnother(SMALL))
    assert directions[-1] == ["maximize", "minimize", "maximize"]
    assert all(line["further"] == {"other": 1.0 - line["score"]} for line in result.history)
    cheapest = {}
    for line in result.history:
        cheapest[line["score"]] = min(line["cost"], cheapest.get(line["score"], line["cost"]))
    assert {(value, cost) for value, cost, _ in result.front} == set(cheapest.items())


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

    def best(name: str, seed: int) -> float:
        return max(trial.score.value for trial in search(replace(STRATEGIES[name], trials=40), seed=seed))

    assert np.mean([best(name, seed) for seed in range(3)]) > np.mean([best("random", seed) for seed in range(3)])


class Slow(Agrees):
    """Lets other workers come by while it scores."""

    def score(self, architecture, epochs, report=None):
        time.sleep(0.01)
        return super().score(architecture, epochs)


@pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning"
)  # which the strategy silences, but for one thread
def test_workers_share_the_trials(strategy, stage, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.study.engine.POLL_S", 0.01)
    objectives = [Slow(SMALL) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        works = [
            pool.submit(search_in, stage(str(number)), strategy, objective, tmp_path / "search.journal")
            for number, objective in enumerate(objectives)
        ]
    results = [work.result() for work in works]
    first = results[0]
    assert all(one.ranked == first.ranked and len(one.history) == TRIALS for one in results)
    asked = [architecture for objective in objectives for architecture, _ in objective.asked]
    tried = [Trial.from_dict(line, line["trial"]) for line in first.history]
    assert sorted(trial.number for trial in tried) == list(range(TRIALS))
    assert sorted(a.hash for a in asked) == sorted(a.hash for a in once(tried))
    assert sum(bool(objective.asked) for objective in objectives) > 1


def test_a_search_keeps_its_trials_where_it_has_begun(tmp_path):
    assert store_of(tmp_path) == Store(str(tmp_path / "search.journal"))
    first = store_of(tmp_path, "postgresql://me:secret@host/database")
    assert first.address == "postgresql://me:secret@host/database" and first.study.startswith(f"{tmp_path.name}-")
    assert "secret" not in (tmp_path / "search.store.json").read_text()
    assert store_of(tmp_path, "postgresql://me:other@host/database").study == first.study
    with pytest.raises(ValueError, match=r"keeps its trials in postgresql://me:\*\*\*@host/database, not in trials.db"):
        store_of(tmp_path, "trials.db")
    (tmp_path / "search.journal").touch()
    with pytest.raises(ValueError, match="has the trials of this search: leave --storage out"):
        store_of(tmp_path, "trials.db")


def test_a_history_without_its_store_is_refused(stage, tmp_path):
    strategy = STRATEGIES["random"]
    with pytest.raises(KeyboardInterrupt):
        search_in(stage(), strategy, Agrees(SMALL, dies_after=6))
    with pytest.raises(ValueError, match="trial 0 in its history, and its store has not.*--overwrite"):
        search_in(stage(), strategy, store=tmp_path / "another.journal")


@pytest.mark.parametrize("strategy", TRAINING.values(), ids=TRAINING)
def test_poor_trials_stop_early_and_rank_last(strategy, stage):
    """Of nine epochs the objective reports each; what it says at a stop is not compared with what others reached."""

    class Climbs(Agrees):
        def score(self, architecture, epochs, report=None):
            whole = super().score(architecture, epochs)
            trained = next((epoch for epoch in range(1, 10) if report(epoch, whole.value + epoch)), 9)
            return replace(whole, value=whole.value + trained, pruned=trained < 9)

    strategy = replace(strategy, epochs=9, pruning="halving")
    tried = search(strategy, objective=Climbs(SMALL))
    stopped = [trial.score.pruned for trial in tried]
    assert 0 < sum(stopped) < TRIALS and not stopped[0]
    best = max(trial.score.value for trial in tried if not trial.score.pruned)
    assert ranked(tried)[0][0] == best and all(value >= 9 for value, *_ in front(tried))
    shared = search_in(stage(), strategy, Climbs(SMALL))
    assert [line.get("pruned", False) for line in shared.history] == stopped
    with pytest.raises(ValueError, match="--strategy.epochs 2 or more"):
        replace(strategy, epochs=1, pruning="hyperband")


def test_pruners_are_optunas_with_one_epoch_as_the_smallest_resource():
    """Of trials that stay as good as they begin, at 1 and 3 of nine epochs; Hyperband spares some the first."""
    stops = {}
    for pruning in ("none", "halving", "hyperband"):
        study = optuna.create_study(
            study_name="search", direction="maximize", pruner=RandomSearch(epochs=9, pruning=pruning).pruner()
        )
        stops[pruning] = []
        for value in np.random.default_rng(0).random(60):
            trial = study.ask()
            for epoch in range(1, 9):
                trial.report(value, epoch)
                if trial.should_prune():
                    stops[pruning].append(epoch)
                    break
            study.tell(trial, value)
    assert stops["none"] == [] and set(stops["halving"]) == set(stops["hyperband"]) == {1, 3}
    assert 0 < stops["hyperband"].count(1) < stops["halving"].count(1) < 60
