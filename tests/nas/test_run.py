"""A run's folder: runs of version 1 open, and what they had begun goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.find_recipe import recipe_named
from nas.recipe import Recipe
from nas.run import DECIDES, RESULTS, Run
from nas.stages.retrain import retrain
from nas.stages.run import run_all
from nas.system.config import decode, encode, fingerprint
from nas.system.run_config import FORMAT
from nas.system.version1 import with_todays_names, with_version1_names

TOY = {"teach": "7f6917439a676ec0", "search": "b149ecb5560e83cb", "baseline": "371dd7f3b5c957d6"}
"""Fingerprints that version 1 gave the stages of its recipe `toy`."""


@pytest.fixture
def toy() -> Recipe:
    return recipe_named("toy")[1]


def version1(recipe: Recipe) -> dict:
    return {"format": 1, "recipe": "toy", "config": with_version1_names(encode(recipe))}


def left_by_version1(folder: Path, recipe: Recipe) -> Path:
    (folder / "tensorboard" / "rival").mkdir(parents=True)
    for name in ("rival.safetensors", "rival.ckpt", "rival.history.jsonl", "tensorboard/rival/events"):
        (folder / name).write_text(name)
    (folder / "config.json").write_text(json.dumps(version1(recipe)))
    return folder


def test_fingerprints_are_those_of_version_1(toy):
    num_ids = 6
    for stage, decides in (("teach", ()), ("baseline", (num_ids,))):
        assert fingerprint(*(getattr(toy, field) for field in DECIDES[stage]), *decides) == TOY[stage]


def test_the_old_names_are_in_a_file_of_version_1(toy):
    text = json.dumps(version1(toy))
    assert '"rival"' in text and '"Flat"' in text and '"baseline"' not in text and '"ConstantLR"' not in text


def test_a_run_of_version_1_opens(toy, tmp_path):
    folder = left_by_version1(tmp_path / "run", toy)
    assert Run.open(folder).recipe == toy
    assert json.loads((folder / "config.json").read_text())["format"] == FORMAT
    for name in ("safetensors", "ckpt", "history.jsonl"):
        assert (folder / f"baseline.{name}").read_text() == f"rival.{name}"
    assert (folder / "tensorboard" / "baseline" / "events").exists() and not list(folder.rglob("rival*"))
    assert Run.open(folder).recipe == toy


def test_a_kill_while_it_is_brought_up_to_date_loses_nothing(toy, tmp_path, monkeypatch):
    folder = left_by_version1(tmp_path / "run", toy)
    with monkeypatch.context() as patched:
        patched.setattr("nas.run.write_json", lambda path, data: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Run.open(folder)
    assert Run.open(folder).recipe == toy
    assert (folder / "baseline.safetensors").read_text() == "rival.safetensors"


@pytest.mark.parametrize("parameters", [None, "distillation"])
def test_renaming_there_and_back_changes_nothing(toy, parameters):
    recipe = replace(toy, search=replace(toy.search, parameters=parameters))
    encoded = json.loads(json.dumps(encode(recipe)))
    old = with_version1_names(encoded)
    assert old["search"]["settings"] == parameters and "parameters" not in old["search"]
    assert with_todays_names(old) == encoded and decode(encoded, Recipe) == recipe


def test_a_configuration_of_a_later_version_is_refused(toy, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**version1(toy), "format": FORMAT + 1}))
    with pytest.raises(ValueError, match=f"format {FORMAT + 1}, this version reads {FORMAT}"):
        Run.open(tmp_path)


class TestOneConfigurationForEachStage:
    """What is refused leaves the folder as it was, and a stage is held against what it began with."""

    @pytest.fixture
    def folder(self, toy, tmp_path) -> Path:
        folder = tmp_path / "run"
        for stage, result in RESULTS.items():
            Run(folder, "toy", toy).begin(stage)
            (folder / result).write_text(stage)
        return folder

    def test_each_has_its_own(self, toy, folder):
        longer = replace(toy, teacher=replace(toy.teacher, training=replace(toy.teacher.training, epochs=9)))
        Run(folder, "toy", longer).begin("retrain")
        held = json.loads((folder / "config.json").read_text())
        assert held["stages"]["teach"]["teacher"]["training"]["epochs"] == toy.teacher.training.epochs
        with pytest.raises(ValueError, match=r"teach.*epochs: 2, now 9.*nas teach \.\.\. --overwrite"):
            Run(folder, "toy", longer).begin("teach")
        Run(folder, "toy", toy).check(*RESULTS)

    @pytest.mark.parametrize("change", ["retrain", "baseline"])
    def test_a_refused_command_writes_nothing(self, toy, folder, change):
        changed = {
            "retrain": replace(toy, retrain=replace(toy.retrain, epochs=3)),
            "baseline": replace(toy, baseline=replace(toy.baseline, embedding_dim=16)),
        }[change]
        before = (folder / "config.json").read_bytes()
        for command in (run_all, retrain):
            with pytest.raises(ValueError, match=f"stage \\({change}\\) of another configuration"):
                command(Run(folder, "toy", changed))
            assert (folder / "config.json").read_bytes() == before

    def test_what_no_stage_depends_on_may_change(self, toy, folder):
        Run(folder, "toy", replace(toy, evaluation=replace(toy.evaluation, rerank=True))).check(*RESULTS)


STRANGERS = {
    '{"model_type": "vit"}': "is not of a run: .*and holds 'model_type'",
    "[]": "must hold a JSON object, and holds a list",
    "7": "must hold a JSON object, and holds a number",
    '{"recipe": 3, "config": {}}': "is not of a run",
    '{"recipe": "toy", "config": [1]}': "is not of a run",
    '{"format": "2"}': "must have a format from 1 to 2, not '2'",
    '{"format": 3}': "has format 3, this version reads 2: update it",
    '{"recipe": "toy", "config": {}}': "is not of a run: its config lacks the fields data, images, space, student",
    '{"a":' * 100_000: "must not be nested",
    '{"a":' * 400 + "1" + "}" * 400: "must not be nested",
}


@pytest.mark.parametrize("text", STRANGERS, ids=lambda text: text[:30])
def test_a_configuration_of_another_tool_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.json {STRANGERS[text]}") as error:
        Run.open(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", {"kind": "Images", "height": "tall"}, r"config.images.height must be .*'tall'"),
        ("space", {"kind": ["ReID"]}, "config.space: kind must be the name of a class"),
        ("space", {"kind": "ReID"}, "config.space: ReID must have backbone"),
        ("seed", 1.5, "config.seed must be"),
        ("colour", 1, "has no field"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_its_file(toy, tmp_path, field, value, message):
    written = {"format": FORMAT, "recipe": "toy", "config": encode(toy) | {field: value}}
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=rf"config\.json .*{message}"):
        Run.open(tmp_path)
