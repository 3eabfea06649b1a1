"""A study of a recipe: killed and gone on with, pruned, weighed against cost, refused; its trainer is made up."""

import csv
import json
from dataclasses import replace

import numpy as np
import optuna
import pytest

from nas.errors import NonFiniteLoss
from nas.losses.labels import LabelLoss
from nas.run import Run
from nas.stages.tune import Tuner, Tuning, on_held_out
from nas.strategies.base import Score
from nas.study.overrides import read_overrides
from nas.study.place import Place
from nas.study.result import write_results
from nas.study.sampler import SAMPLERS
from runs.recipes.fast_reid import fast_reid

RECIPE = fast_reid().small()
GRID = Tuning(space="fast_reid", sampler="grid", held_out=0.25)
TPE = Tuning(space="distillation", held_out=0.25)


def tuner(folder, tuning=GRID, num_trials=None, recipe=RECIPE, **place):
    place = {"storage": str(folder / "study.journal"), "grace_s": 0.2} | place
    return Tuner(Run(folder, "fast_reid", recipe), tuning, Place(folder=folder, **place), num_trials)


def made_up(value, stops_before=None, told=lambda epoch, mAP: mAP * epoch / 4):
    """A trainer that computes `value` of a recipe, tells it in four epochs, and stops at its `stops_before`th trial."""

    class MadeUp:
        num_ids = 6
        asked = []

        def __init__(self, run):
            self.run = run

        def __call__(self, recipe, architecture, folder, report):
            self.asked.append((recipe, architecture, folder))
            if len(self.asked) == stops_before:
                raise KeyboardInterrupt
            mAP, cost = value(recipe, architecture)
            pruned = any(report(epoch, told(epoch, mAP)) for epoch in range(1, 5))
            return Score(mAP, cost, 1.0, pruned, parameters=3)

    return MadeUp


def by_alpha(recipe, _):
    return recipe.loss.alpha / recipe.loss.temperature.value, 100


def by_rate(recipe, _):
    return float(np.clip(0.5 + recipe.loss.margin - 100 * recipe.retrain.optimiser.lr, 0, 1)), 100


def params(study):
    """What the complete trials asked, by their places."""
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return {trial.user_attrs["place"]: trial.params for trial in complete}


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr("nas.study.result.write_tuning_report", lambda *_: None)


class TestGrid:
    def test_killed_and_gone_on_with(self, tmp_path):
        first, second = made_up(by_alpha, stops_before=5), made_up(by_alpha)
        with pytest.raises(KeyboardInterrupt):
            tuner(tmp_path).work(first)
        again = tuner(tmp_path)
        assert again.engine.num_open == 8
        again.work(second)
        asked = [(recipe.loss.temperature.value, recipe.loss.alpha) for recipe, *_ in (first.asked[:4] + second.asked)]
        assert sorted(asked) == [(t, alpha) for t in (1.0, 2.0, 5.0, 10.0) for alpha in (0.1, 0.3, 0.5)]
        assert again.engine.num_open == 0 and again.study.best_value == 0.5
        finished = made_up(by_alpha)
        tuner(tmp_path).work(finished)
        assert not finished.asked

    def test_is_whole(self, tmp_path):
        with pytest.raises(ValueError, match="the grid of the space 'fast_reid' has 12 points, and --trials is 5"):
            tuner(tmp_path, num_trials=5)
        assert not list(tmp_path.iterdir())

    @pytest.mark.medium
    def test_what_is_written(self, tmp_path):
        study = tuner(tmp_path)
        study.work(made_up(by_alpha))
        found = write_results(study.study, tmp_path)
        assert found == json.loads((tmp_path / "trials.json").read_text())
        expected = sorted((a / t for a in (0.1, 0.3, 0.5) for t in (1, 2, 5, 10)), reverse=True)
        assert [row["mAP"] for row in found["trials"]] == expected
        rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
        assert len(rows) == 12
        assert (rows[0]["loss.alpha"], rows[0]["temperature"], rows[0]["best"]) == ("0.5", "1.0", "True")
        recipe = read_overrides(fast_reid(), tmp_path / "tuned.json")
        assert (recipe.loss.alpha, recipe.loss.temperature.value) == (0.5, 1.0)
        assert set(found["importances"]) == {"temperature", "loss.alpha"}
        drawn = {path.stem for path in (tmp_path / "plots").glob("*.svg")}
        assert drawn == {"importances", "contour", "parallel", "history"}


class TestSamplers:
    @pytest.mark.medium
    def test_a_killed_study_proposes_what_a_whole_one_does(self, tmp_path):
        whole = tuner(tmp_path / "whole", TPE, 14)
        whole.work(made_up(by_rate))
        with pytest.raises(KeyboardInterrupt):
            tuner(tmp_path / "killed", TPE, 14).work(made_up(by_rate, stops_before=12))
        again = tuner(tmp_path / "killed", TPE, 14)
        again.work(made_up(by_rate))
        expected, found = params(whole.study), params(again.study)
        assert list(expected) == list(range(14)) and {place: found[place] for place in range(12)} == {
            place: expected[place] for place in range(12)
        }
        assert sorted(found) == list(range(14)) and len({params["loss.margin"] for params in found.values()}) == 14

    def test_another_seed_proposes_others(self, tmp_path):
        found = []
        for seed in (0, 1):
            study = tuner(tmp_path / str(seed), TPE, 3, recipe=replace(RECIPE, seed=seed))
            study.work(made_up(by_rate))
            found.append(params(study.study))
        assert all(found[0][place] != found[1][place] for place in range(3))

    @pytest.mark.medium
    def test_the_front_is_that_of_mAP_and_multiply_adds(self, tmp_path, monkeypatch, without_pictures):
        monkeypatch.setitem(SAMPLERS, "nsga2", lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=6))
        rng = np.random.default_rng(0)
        study = tuner(tmp_path, replace(GRID, space="architecture", sampler="nsga2"), 20)
        study.work(made_up(lambda *_: (float(rng.random()), int(rng.integers(1e8)))))
        found = write_results(study.study, tmp_path)
        points = [(row["mAP"], row["multiply_adds"]) for row in found["trials"]]
        assert [row["best"] for row in found["trials"]] == [
            not any(m >= mAP and c <= cost and (m, c) != (mAP, cost) for m, c in points) for mAP, cost in points
        ]
        best = [row for row in found["trials"] if row["best"]]
        assert len(best) > 1 and {path.name for path in tmp_path.glob("tuned*.json")} == {
            "tuned.json",
            *(f"tuned-trial{row['trial']}.json" for row in best),
        }
        assert (tmp_path / "tuned.json").read_text() == (tmp_path / f"tuned-trial{best[0]['trial']}.json").read_text()
        assert read_overrides(RECIPE, tmp_path / "tuned.json").architecture == tmp_path / "tuned.json"
        assert best[0]["mAP"] == max(mAP for mAP, _ in points)


@pytest.mark.parametrize("name", ["median", "hyperband"])
def test_a_poor_trial_is_pruned_and_kept(tmp_path, name, without_pictures):
    """The later, the worse: all that follow the first ones end before their time."""
    values = iter(np.linspace(0.9, 0.1, 12))
    recipe = replace(RECIPE, retrain=replace(RECIPE.retrain, epochs=4, validate_every=1))
    study = tuner(tmp_path, replace(GRID, pruner=name), recipe=recipe)
    study.work(made_up(lambda *_: (float(next(values)), 1)))
    rows = write_results(study.study, tmp_path)["trials"]
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and len(rows) == 12 and rows[0]["state"] == "complete" and rows[0]["mAP"] == 0.9
    assert all(row["epochs_told"] < 4 and row["changes"] and not row["best"] for row in pruned)
    assert study.engine.num_open == 0


def test_pruning_needs_to_be_told_on_the_way():
    recipe = replace(RECIPE, retrain=replace(RECIPE.retrain, epochs=30))
    assert on_held_out(recipe, replace(GRID, pruner="median")).retrain.validate_every == 3
    assert on_held_out(recipe, GRID).retrain == recipe.retrain


def test_a_training_that_diverges_is_a_result(tmp_path, without_pictures):
    def value(recipe, architecture):
        if recipe.loss.alpha == 0.3:
            raise NonFiniteLoss("the loss became nan")
        return by_alpha(recipe, architecture)

    study = tuner(tmp_path)
    study.work(trainer := made_up(value))
    rows = write_results(study.study, tmp_path)["trials"]
    assert len(trainer.asked) == 12 and [row["state"] for row in rows] == ["complete"] * 8 + ["failed"] * 4
    assert {row["why"] for row in rows[8:]} == {"the loss became nan"}


def test_who_was_taken_for_dead_drops_the_trial_and_goes_on(tmp_path):
    study = tuner(tmp_path)

    def value(recipe, architecture):
        if len(study.study.trials) == 1:
            study.study.tell(0, state=optuna.trial.TrialState.FAIL)
        return by_alpha(recipe, architecture)

    study.work(made_up(value))
    states = [trial.state.name for trial in study.study.trials]
    assert states == ["FAIL"] + ["COMPLETE"] * 12 and study.engine.num_open == 0


class TestRefusals:
    @pytest.mark.parametrize(
        "tuning, recipe, message",
        [
            (replace(GRID, space="distillation"), RECIPE, "a grid needs values to choose among"),
            (replace(GRID, sampler="nsga2"), RECIPE, r"changes no network: take --parameters fast_reid\+architecture"),
            (replace(GRID, held_out=0.1), RECIPE, "0.1 of its training identities are 1, and 2 to 8 can be held out"),
            (replace(GRID, held_out=0.75), RECIPE, "a batch has 4 identities, .* has only 2 to train on"),
            (GRID, replace(RECIPE, machine=replace(RECIPE.machine, devices=2)), "a trial trains on one device"),
            (GRID, replace(RECIPE, teacher=None), "the recipe has no teacher"),
            (GRID, replace(RECIPE, retrain_loss=LabelLoss()), "the recipe has another one for its retraining: give"),
        ],
    )
    def test_what_cannot_be_tuned_leaves_nothing(self, tmp_path, tuning, recipe, message):
        with pytest.raises(ValueError, match=message):
            tuner(tmp_path, tuning, recipe=recipe)
        assert not list(tmp_path.iterdir())

    def test_several_objectives_are_not_pruned(self):
        with pytest.raises(ValueError, match="--pruner median needs one objective, and nsga2 has two"):
            Tuning(space="architecture", sampler="nsga2", pruner="median")

    @pytest.mark.medium
    @pytest.mark.parametrize(
        "tuning, recipe, differs",
        [
            (TPE, RECIPE, "'fast_reid', now 'distillation'"),
            (GRID, replace(RECIPE, seed=1), "config.seed: 0, now 1"),
            (replace(GRID, held_out=0.5), RECIPE, "tuning.held_out: 0.25, now 0.5"),
            (GRID, replace(RECIPE, retrain=replace(RECIPE.retrain, epochs=9)), "config.retrain.epochs: 2, now 9"),
        ],
    )
    def test_a_study_of_something_else(self, tmp_path, tuning, recipe, differs):
        held = tuner(tmp_path).study
        before = held.user_attrs, held.trials
        with pytest.raises(
            ValueError,
            match=rf"is of something else than this command .*{differs}.*--study another name",
        ):
            tuner(tmp_path, tuning, recipe=recipe)
        assert (held.user_attrs, held.trials) == before
        tuner(tmp_path, tuning, recipe=recipe, study="another")

    def test_the_machine_may_be_another(self, tmp_path):
        tuner(tmp_path)
        tuner(tmp_path, recipe=replace(RECIPE, machine=replace(RECIPE.machine, threads=3, device="cpu")))

    @pytest.mark.parametrize(
        "address, message",
        [
            (
                "postgresql://me:secret@127.0.0.1:1/x",
                r"storage postgresql\+?\S*://me:\*\*\*@127.0.0.1:1/x cannot be reached"
                ": .*the same command goes on",
            ),
            ("nothing://x", "is neither|cannot be reached"),
            ("mysql://me:secret@127.0.0.1:1/x", "driver of .* is not installed .*MySQLdb"),
        ],
    )
    def test_a_database_that_is_not_there(self, tmp_path, address, message, monkeypatch):
        monkeypatch.setattr("nas.study.storage.MAKING_S", 0.1)
        with pytest.raises(ValueError, match=message) as caught:
            tuner(tmp_path, storage=address)
        assert "secret" not in str(caught.value) and not list(tmp_path.iterdir())

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "study.db").write_text("no database at all, but long enough to look like a file" * 20)
        with pytest.raises(ValueError, match="study.db cannot be reached: .*not a database"):
            tuner(tmp_path, storage=str(tmp_path / "study.db"))


def test_a_result_waits_for_a_database_that_is_away(tmp_path, monkeypatch):
    study, answers = tuner(tmp_path), iter([False, False, True])
    tell = study.study.tell

    def away(*arguments, **options):
        if not next(answers, True):
            raise optuna.exceptions.StorageInternalError("away")
        return tell(*arguments, **options)

    monkeypatch.setattr(study.study, "tell", away)
    monkeypatch.setattr("nas.study.storage.time.sleep", lambda _: None)
    with pytest.warns(UserWarning, match="storage is away"):
        study.work(made_up(by_alpha))
    assert study.engine.num_open == 0 and next(answers, None) is None


def test_a_database_that_stays_away_is_said(tmp_path, monkeypatch):
    study = tuner(tmp_path)

    def away(*_, **__):
        raise optuna.exceptions.StorageInternalError("gone")

    monkeypatch.setattr(study.study, "tell", away)
    monkeypatch.setattr("nas.study.engine.retry", lambda call: call())
    with pytest.raises(ValueError, match="cannot be reached: gone"):
        study.work(made_up(by_alpha))
    monkeypatch.undo()
    again = tuner(tmp_path)
    again.work(made_up(by_alpha))
    assert again.engine.num_open == 0
