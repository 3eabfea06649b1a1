"""Searches of whole recipes by strategies that try one architecture after the other, and what they refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.cli.main import main
from nas.data.base import Split
from nas.data.sets.held_out import findable
from nas.errors import NonFiniteLoss
from nas.losses.kdas import KDASLoss
from nas.models.runtimes import OnnxRuntime
from nas.run import Run
from nas.stages.retrain import retrain
from nas.stages.search import check_search, objective, search
from nas.stages.search_entry import entry_run
from nas.strategies.evolution import Evolution
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.pc_darts import PCDARTS
from nas.strategies.proxies import NUM_BATCHES
from nas.strategies.proxy_search import ProxySearch
from nas.strategies.random_search import RandomSearch
from nas.strategies.single_path import SinglePath
from nas.study.joint import JointSpace, searched_space, split_decisions
from nas.study.objective import Trials
from nas.study.spaces import TEMPERATURES
from nas.study.storage import open_storage
from nas.system.config import apply_overrides
from nas.tasks.reid.task import choose_queries
from nas.training.machine import Machine
from runs.recipes.demo import toy
from runs.recipes.person_search import toy_street
from search_spaces.architecture import Architecture
from search_spaces.cost.latency import Timing
from search_spaces.mobilenet_v2 import MobileNetV2
from students.reid import ReID

RECIPE = replace(
    toy(),
    teacher=None,
    baseline=None,
    strategy=RandomSearch(epochs=1, trials=2),
    machine=Machine(device="cpu"),
    retrain=replace(toy().retrain, epochs=1, validate_every=0),
)
TAUGHT = replace(
    toy(),
    strategy=OptunaSearch(sampler="nsga2", epochs=1, trials=3, population=2),
    baseline=None,
    search=replace(toy().search, parameters="distillation"),
    machine=Machine(device="cpu"),
)


def trials_of(folder: Path, recipe=RECIPE) -> Trials:
    run, data = Run(folder, "toy", recipe), recipe.load()
    torch.manual_seed(0)
    return objective(run, data, run.begin("search")).trials


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    return trials_of(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def sampled(trials):
    return trials.recipe.space.with_ids(6).sample(np.random.default_rng(0))


class TestTrials:
    def test_measured_are_images_that_the_weights_do_not_see(self, trials):
        queries, gallery = set(trials.part.query.indices), set(trials.part.gallery.indices)
        assert queries and gallery and not queries & gallery
        assert not (queries | gallery) & set(trials.batches.indices)

    def test_every_query_has_a_match_from_another_camera(self, trials):
        ids, cameras = trials.part.gallery.split.ids, trials.part.gallery.split.cameras
        for identity, camera in zip(trials.part.query.split.ids, trials.part.query.split.cameras, strict=True):
            assert set(cameras[ids == identity]) - {camera}

    @pytest.mark.medium
    def test_a_score_is_a_function_of_the_architecture(self, trials, sampled):
        one, again = trials.score(sampled, 2), trials.score(sampled, 2)
        assert (one.value, one.cost) == (again.value, again.cost) and 0 < one.value <= 1 and one.seconds > 0
        assert not (trials.stage.folder / "search.trials" / sampled.hash / "retrain.ckpt").exists()

    @pytest.mark.medium
    def test_a_report_comes_after_each_epoch_and_may_stop_it(self, trials, sampled):
        told = []
        whole = trials.score(sampled, 3, lambda epoch, value: told.append((epoch, value)))
        assert [epoch for epoch, _ in told] == [1, 2, 3] and told[-1][1] == whole.value and not whole.pruned
        stopped = trials.score(sampled, 3, lambda epoch, value: epoch == 2)
        assert stopped.pruned and stopped.value == told[1][1]

    @pytest.mark.medium
    def test_a_killed_trial_goes_on(self, tmp_path, sampled):
        whole = trials_of(tmp_path / "whole").score(sampled, 3, lambda *_: False)
        killed = trials_of(tmp_path / "killed")

        def dies(epoch, value):
            if epoch == 2:
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            killed.score(sampled, 3, dies)
        told = []
        rest = trials_of(tmp_path / "killed").score(sampled, 3, lambda epoch, value: told.append(epoch))
        assert rest.value == whole.value and told == [2, 3]

    def test_a_training_that_diverges_is_worth_nothing(self, trials, sampled, monkeypatch):
        def diverges(*_):
            raise NonFiniteLoss("loss.total became nan")

        monkeypatch.setattr("nas.study.objective.train", diverges)
        with pytest.warns(UserWarning, match="counts as mAP 0: loss.total became nan"):
            score = trials.score(sampled, 1)
        assert score.value == 0 and score.cost > 0 and not score.pruned

    @pytest.mark.parametrize("proxy", NUM_BATCHES)
    def test_an_estimate_is_a_function_of_the_architecture(self, trials, sampled, proxy, monkeypatch):
        monkeypatch.delattr("nas.study.objective.train")
        other = trials.recipe.space.with_ids(6).sample(np.random.default_rng(1))
        one, another, again = (trials.estimate(each, proxy) for each in (sampled, other, sampled))
        assert (one.value, one.cost, one.parameters) == (again.value, again.cost, again.parameters)
        assert one.value != another.value and one.parameters > 1000 and one.cost == trials.cost(sampled)

    def test_milliseconds_instead_of_multiply_adds(self, tmp_path, sampled, monkeypatch):
        recipe = replace(RECIPE, search=replace(RECIPE.search, cost="latency_ms"))
        asked = []

        def latency(net, height, width, runtime):
            asked.append((height, width, runtime))
            return Timing(median=1.5, low=1.0, high=2.0, processor=1.5)

        monkeypatch.setattr("nas.study.objective.latency", latency)
        assert trials_of(tmp_path, recipe).cost(sampled) == 1.5 and asked == [(32, 16, OnnxRuntime())]


def test_a_half_in_which_nobody_is_seen_twice_is_said_before_training(trials, sampled, monkeypatch):
    monkeypatch.delattr("nas.study.objective.train")
    one_camera = replace(trials.data.train, cameras=np.zeros(len(trials.data.train), dtype=np.int64))
    data, task = replace(trials.data, train=one_camera), trials.recipe.task
    _, alphas = task.halves(data, trials.recipe, np.random.default_rng(0))
    with pytest.raises(ValueError, match="is seen by two cameras there: take more images, or .* darts or gdas"):
        replace(trials, part=alphas).score(sampled, 1)


def test_so_many_identities_are_measured():
    train = Split(images=range(60), ids=np.repeat(np.arange(10), 6), cameras=np.tile([0, 1, 2], 20))
    half = np.arange(1, 60, 2)
    for most, expected in ((3, 3), (None, len(findable(train.take(half))))):
        queries, gallery = choose_queries(train, half, most, np.random.default_rng(0))
        assert len(set(train.ids[gallery])) == len(set(train.ids[queries])) == expected
        assert set(queries) | set(gallery) <= set(half)


STRATEGIES = {
    "random": RandomSearch(epochs=1, trials=2),
    "evolution with halving": Evolution(epochs=2, trials=3, population=2, sample=1, pruning="halving", factor=2),
    "tpe": OptunaSearch(sampler="tpe", epochs=1, trials=2),
    "proxy": ProxySearch(proxy="zico", trials=3),
    "evolution from a proxy": Evolution(epochs=1, trials=2, population=2, sample=1, warm_start="naswot", warm_draws=2),
    "single path": SinglePath(
        epochs=1, trials=2, population=2, sample=1, recalibration=1, num_retrained=2, retrained_epochs=1
    ),
}


@pytest.mark.medium
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_a_recipe_is_searched_and_its_best_retrained(strategy, tmp_path):
    run = Run(tmp_path, "toy", replace(RECIPE, strategy=strategy))
    search(run)
    found = json.loads((tmp_path / "architectures.json").read_text())
    best = json.loads((tmp_path / "architecture.json").read_text())
    assert all(line["student"]["multiply_adds"] > 1000 for line in (*found["ranked"], *found["front"]))
    assert found["ranked"][0]["architecture"] == best and found["cost"] == "multiply_adds" and found["front"]
    assert found["ranked"][0]["cost"] > 1000 and found["value"].startswith(strategy.measure)
    assert ("kendall_tau" in found["notes"]) == isinstance(strategy, SinglePath)
    retrain(run)
    assert (tmp_path / "student.safetensors").exists()


@pytest.mark.medium
def test_one_that_no_student_can_be_built_of_is_listed_all_the_same(tmp_path, monkeypatch):
    def lacks(*_):
        raise ValueError("the space does not offer it")

    monkeypatch.setattr("nas.stages.search.student_cost", lacks)
    search(Run(tmp_path, "toy", RECIPE))
    ranked = json.loads((tmp_path / "architectures.json").read_text())["ranked"]
    assert ranked and not any("student" in line for line in ranked)


def trials_in(folder):
    return optuna.load_study(study_name="search", storage=open_storage(str(folder / "search.journal"))).get_trials()


@pytest.mark.medium
def test_overwriting_forgets_the_trials(tmp_path):
    run = Run(tmp_path, "toy", RECIPE)
    search(run)
    first = trials_in(tmp_path)
    search(run, overwrite=True)
    again = trials_in(tmp_path)
    assert [trial.values for trial in again] == [trial.values for trial in first]
    assert min(trial.datetime_start for trial in again) > max(trial.datetime_complete for trial in first)


class TestRefusals:
    @pytest.mark.medium
    def test_what_a_strategy_cannot_decide_is_named_with_those_that_can(self):
        wide = ReID(backbone=MobileNetV2(other_widths=(0.5,)), embedding_dim=8)
        with pytest.raises(
            ValueError, match=r"width.*Of the strategies, random, evolution, .*tpe.* can search this"
        ) as said:
            check_search(replace(toy(), space=wide, student=None))
        assert "darts" not in str(said.value).partition("Of the strategies")[2]
        check_search(replace(toy(), space=wide, student=None, strategy=RandomSearch()))
        with pytest.raises(ValueError, match="MobileNetV2 has none.*darts, gdas, "):
            check_search(replace(toy(), space=ReID(backbone=MobileNetV2()), student=None, strategy=PCDARTS()))

    def test_several_devices_for_one_trial(self):
        with pytest.raises(ValueError, match="once for each device"):
            check_search(replace(RECIPE, machine=Machine(devices=2)))

    @pytest.mark.parametrize("strategy", [ProxySearch(), Evolution(warm_start="synflow")])
    def test_a_proxy_of_networks_that_find_persons(self, strategy):
        with pytest.raises(ValueError, match="judges networks that give one feature for each image"):
            check_search(replace(toy_street(), strategy=strategy))

    def test_before_a_teacher_is_taught(self, tmp_path, capsys):
        assert main(["run", "toy", "--search.parameters", "distillation", "--out", str(tmp_path / "run")]) == 2
        assert "settings.schedule" in capsys.readouterr().err and not (tmp_path / "run").exists()


class TestJoint:
    @pytest.mark.medium
    def test_settings_are_asked_beside_the_architecture(self):
        space = searched_space(TAUGHT, 6)
        drawn = [space.sample(np.random.default_rng(seed)) for seed in range(12)]
        assert {architecture.decisions["settings.schedule"] for architecture in drawn} == set(TEMPERATURES)
        for architecture in drawn:
            own, overrides = split_decisions(architecture, TAUGHT)
            TAUGHT.space.with_ids(6).check(own)
            schedule = TEMPERATURES[architecture.decisions["settings.schedule"]].__name__
            assert overrides["loss.temperature"]["kind"] == schedule
            assert ("settings.temperature_end" in architecture.decisions) == (schedule != "Constant")

    @pytest.mark.medium
    def test_ranges_become_points(self):
        drawn = {
            searched_space(TAUGHT, 6).sample(np.random.default_rng(seed)).decisions["settings.temperature"]
            for seed in range(60)
        }
        assert drawn == {1.0, 1.778, 3.162, 5.623, 10.0}

    @pytest.mark.medium
    def test_the_student_is_retrained_with_what_was_found(self, tmp_path):
        run = Run(tmp_path, "toy", TAUGHT)
        assert (
            main(
                [
                    "teach",
                    "toy",
                    "--baseline",
                    "None",
                    "--teacher.training.epochs",
                    "1",
                    "--machine.device",
                    "cpu",
                    "--out",
                    str(tmp_path / "teacher"),
                ]
            )
            == 0
        )
        recipe = replace(TAUGHT, teacher=replace(TAUGHT.teacher, weights=tmp_path / "teacher" / "teacher.safetensors"))
        run = Run(tmp_path / "run", "toy", recipe)
        search(run)
        best = json.loads((tmp_path / "run" / "architecture.json").read_text())
        assert not any(name.startswith("settings") for name in best["decisions"])
        Architecture.from_dict(best)
        settled = run.final_recipe()
        assert settled.loss != recipe.loss and isinstance(settled.loss, KDASLoss)
        own = entry_run(run, "2").recipe
        assert (
            own.loss
            == apply_overrides(
                recipe,
                json.loads((tmp_path / "run" / "architectures.json").read_text())["ranked"][1]["architecture"][
                    "changes"
                ],
            ).loss
            != recipe.loss
        )
        retrain(run)
        lines = [json.loads(line) for line in (tmp_path / "run" / "retrain.history.jsonl").read_text().splitlines()]
        assert [line["temperature"] for line in lines] == [
            settled.loss.temperature.at(epoch, settled.retrain.epochs) for epoch in range(settled.retrain.epochs)
        ]

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ("distilation", "did you mean 'distillation'"),
            ("joint", "asks for an architecture"),
            ("fast_reid", "loss.alpha"),
        ],
    )
    def test_wrong_settings_are_named(self, settings, named):
        with pytest.raises(ValueError, match=named):
            JointSpace(TAUGHT.space.with_ids(6), TAUGHT, settings)


def test_workers_are_for_trials(tmp_path):
    run = Run(tmp_path, "toy", replace(RECIPE, strategy=toy().strategy))
    with pytest.raises(ValueError, match="--workers must be 1, or more .* not 2 with DARTS"):
        search(run, num_workers=2)
    with pytest.raises(ValueError, match="not 0 with RandomSearch"):
        search(Run(tmp_path, "toy", RECIPE), num_workers=0)


@pytest.mark.slow
def test_workers_are_started_and_share_the_trials(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert (
        main(
            [
                "search",
                "toy",
                "--strategy",
                "random",
                "--strategy.trials",
                "16",
                "--strategy.epochs",
                "6",
                "--teacher",
                "None",
                "--machine.device",
                "cpu",
                "--workers",
                "2",
                "--json",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert "a worker ended" not in capfd.readouterr().err
    assert (tmp_path / "run" / "workers" / "0.log").read_text() == ""
    complete = [trial for trial in trials_in(tmp_path / "run") if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(16))
    assert len({trial.user_attrs["worker"] for trial in complete}) == 2
    assert len((tmp_path / "run" / "search.history.jsonl").read_text().splitlines()) == 16


@pytest.mark.slow
def test_two_processes_share_a_search_and_one_is_killed(tmp_path):
    """The killed one's trial is done again by the other; together they try as many as were asked for."""
    command = [
        sys.executable,
        "-m",
        "nas",
        "search",
        "toy",
        "--strategy",
        "random",
        "--strategy.trials",
        "12",
        "--strategy.epochs",
        "8",
        "--teacher",
        "None",
        "--machine.device",
        "cpu",
        "--out",
        str(tmp_path / "run"),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    journal, end = tmp_path / "run" / "search.journal", time.monotonic() + 120
    while time.monotonic() < end and (not journal.exists() or journal.read_text().count('"plan"') < 4):
        time.sleep(0.05)
    workers[0].send_signal(signal.SIGKILL)
    said = [worker.communicate(timeout=200)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0], said
    complete = [trial for trial in trials_in(tmp_path / "run") if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(12))
    assert len((tmp_path / "run" / "search.history.jsonl").read_text().splitlines()) == 12
