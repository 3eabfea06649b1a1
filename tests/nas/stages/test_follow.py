"""What the page that follows a run draws: what its files say now, damaged ones included."""

from dataclasses import replace

import pytest
from optuna import create_study

from nas.cli.find_recipe import recipe_named
from nas.run import Run
from nas.stages.follow import page_data
from nas.strategies import STRATEGIES
from nas.study.place import Place
from nas.study.storage import open_storage
from nas.study.watch import note_study
from nas.system.files import write_json, write_lines
from nas.system.progress import LOG

TRIAL = {"score": 0.5, "best": 0.5, "cost": 1e6, "seconds": 1.0, "architecture": {"decisions": {"a": "b"}}}


def made(folder, strategy=None, **changes):
    recipe = recipe_named("toy")[1]
    Run(folder, "toy", replace(recipe, strategy=strategy or recipe.strategy, **changes)).note_recipe()
    return folder


def stages(data):
    return {stage["name"]: stage for stage in data["status"]["stages"]}


def test_each_stage_of_the_recipe_has_its_epochs(tmp_path):
    folder = made(tmp_path / "run", controls=("random-cell",))
    write_lines(folder / "retrain.history.jsonl", [{"epoch": 0, "loss": {"total": 1.0}}])
    (folder / "teacher.safetensors").touch()
    data = page_data(folder)
    recipe = recipe_named("toy")[1]
    found = stages(data)
    assert list(found) == ["Teacher", "Search", "Retraining", "Baseline", "Random cell"]
    assert found["Teacher"]["ended"] and found["Search"]["planned"] == recipe.strategy.epochs
    assert (found["Retraining"]["done"], found["Retraining"]["planned"]) == (1, recipe.retrain.epochs)
    assert data["training-retrain"][0]["series"][0]["y"] == [1.0] and "training-teach" not in data


def test_a_search_by_trials_counts_trials(tmp_path):
    folder = made(tmp_path / "run", STRATEGIES["random"], teacher=None)
    write_lines(folder / "search.history.jsonl", [TRIAL | {"epoch": number} for number in range(3)])
    data = page_data(folder)
    assert stages(data)["Search"] == {
        "name": "Search",
        "done": 3,
        "planned": STRATEGIES["random"].trials,
        "ended": False,
        "unit": "trials",
    }
    assert "Teacher" not in stages(data)
    assert len(data["trials"]["trials"]) == 3 and data["trials"]["cost"]["name"] == "MACs"


def test_the_scores_of_a_proxy_are_called_by_its_name(tmp_path):
    folder = made(tmp_path / "run", STRATEGIES["proxy"], teacher=None)
    write_lines(folder / "search.history.jsonl", [TRIAL | {"epoch": 0, "score": 812.5}])
    assert page_data(folder)["trials"]["value"] == {"name": "naswot", "percent": False}


@pytest.mark.parametrize("file", ["config.json", "search.history.jsonl"])
def test_a_damaged_file_is_said_and_the_log_is_there(tmp_path, file):
    folder = made(tmp_path / "run")
    (folder / LOG).write_text("a line\n")
    (folder / file).write_text('{"epoch": "x"}\n{}\n')
    data = page_data(folder)
    assert data["status"]["state"] == "damaged" and file in data["status"]["why"] and data["log"] == "a line\n"


def test_a_long_log_ends_with_its_end(tmp_path):
    folder = made(tmp_path / "run")
    (folder / LOG).write_text("x" * 100_000 + "\nthe end\n")
    log = page_data(folder)["log"]
    assert len(log) < 20_000 and log.endswith("the end\n")


def test_an_ablation_tells_nothing_of_its_arms_before_its_end(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    place = Place(folder=folder)
    create_study(study_name=place.name, storage=open_storage(place.address))
    note_study(place, "ablate", 4)
    write_json(folder / "ablation.json", {"trials": {"done": 1, "planned": 4}})
    data = page_data(folder)
    assert data["running"]["rows"] == [] and "arms" not in data and "study" not in data
    assert "0 of 4 trials" in data["status"]["where"] and data["status"]["state"] == "stopped"


def test_a_study_in_a_database_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    note_study(Place(folder=tmp_path, storage="postgresql://u@nowhere.invalid/d"), "tune", 20)
    assert {"status", "operations"} == page_data(tmp_path).keys()
