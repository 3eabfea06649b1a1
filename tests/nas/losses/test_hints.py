"""A teacher's maps through a whole training, and what does not fit, found before it."""

import json

import pytest

from nas.models.network import Network
from tests.nas.cli.program import nas

OWN = '''
from dataclasses import replace
from nas.losses.hints import (HintLoss)
from nas.losses.kdas import (KDASLoss)
from nas.recipe import Recipe
from runs.recipes.demo import toy
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from students.hinted import Hint, Hinted
from students.reid import ReID

SPACE = ReID(backbone=Cells(channels=3, cells=2, reductions=(2,)), embedding_dim=8)

def hinted() -> Recipe:
    """The toy under a teacher's maps, one epoch of everything."""
    recipe = toy()
    brief = replace(recipe.retrain, epochs=1, validate_every=0)
    teacher = replace(recipe.teacher, net=ReID(backbone=ResNet(width=1 / 16), embedding_dim=8), training=brief)
    hints = (Hint(student="map", teacher="layer3", channels=16),)
    return replace(recipe, baseline=None, teacher=teacher, space=Hinted(main=SPACE, hints=hints), retrain=brief,
                   strategy=replace(recipe.strategy, epochs=1),
                   loss=HintLoss(each=KDASLoss(), hints=("layer3",), attention=(("map", "layer4"),)))

def unadapted() -> Recipe:
    """Its student has no adapter."""
    return replace(hinted(), space=SPACE)

def unknown() -> Recipe:
    """Its teacher has no such map."""
    return replace(hinted(), loss=HintLoss(attention=(("map", "layer7"),)))

def narrow() -> Recipe:
    """Its adapter is for another teacher."""
    return replace(hinted(), space=Hinted(main=SPACE, hints=(Hint(student="map", teacher="layer3", channels=9),)))
'''


CPU = ["--machine.device", "cpu"]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "recipes_of_the_hints_test.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def run(recipes):
    """A search and a retraining under a teacher's maps."""
    folder = recipes.parent / "run"
    for stage in ("teach", "search"):
        assert nas(stage, f"{recipes}:hinted", "--out", folder, *CPU) == 0
    assert nas("retrain", folder) == 0
    return folder


@pytest.mark.medium
def test_maps_are_heard_in_the_search_and_in_the_retraining(run):
    search, retrain = (json.loads((run / f"{stage}.history.jsonl").read_text()) for stage in ("search", "retrain"))
    assert set(search["weight"]) == set(retrain["loss"]) == {"total", "distill", "triplet", "hint", "attention"}
    assert search["weight"]["hint"] > 0 and 0 < retrain["loss"]["attention"] <= 2


@pytest.mark.medium
def test_adapters_are_no_part_of_the_student(run):
    student = Network.load(run / "student.safetensors")
    assert type(student.space).__name__ == "ReID" and not [n for n in student.net.state_dict() if "adapter" in n]
    assert student.net.state_dict().keys() == student.space.student(student.architecture).state_dict().keys()


WRONG = pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("unadapted", "no map hint.layer3; it has"),
        ("unknown", "the teacher has no map layer7; it has layer1, layer2, layer3, layer4, map"),
        ("narrow", "have the same channels, got [2, 9"),
    ],
)


@pytest.mark.medium
@WRONG
def test_what_does_not_fit_is_found_before_the_teacher_is_trained(recipes, tmp_path, capsys, recipe, message):
    assert nas("run", f"{recipes}:{recipe}", "--out", tmp_path / "run", *CPU) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.medium
@WRONG
def test_what_does_not_fit_is_found_before_any_work(run, recipes, tmp_path, capsys, recipe, message):
    weights = run / "teacher.safetensors"
    assert nas("search", f"{recipes}:{recipe}", "--teacher.weights", weights, "--out", tmp_path, *CPU) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "search.history.jsonl").exists()
