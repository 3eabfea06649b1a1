"""Backbones of person search are searched by every kind of strategy: search, derive, retrain, evaluate."""

import json
from dataclasses import replace

import pytest

from nas.run import Run
from nas.stages.evaluate import evaluate
from nas.stages.retrain import retrain
from nas.stages.search import search
from nas.stages.teach import teach
from nas.strategies import STRATEGIES
from nas.strategies.darts import DARTS
from nas.strategies.random_search import RandomSearch
from runs.recipes.person_search import toy_street
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2

CELLS = Cells(channels=4, cells=3, reductions=(2,))
BRIEF = {"epochs": 1}
slow = pytest.mark.slow
PAIRS = [
    pytest.param(CELLS, {}, DARTS(**BRIEF), id="cells, darts", marks=slow),
    pytest.param(CELLS, {}, DARTS(order=2, **BRIEF), id="cells, darts of second order", marks=slow),
    pytest.param(CELLS, {}, replace(STRATEGIES["gdas"], **BRIEF), id="cells, gdas", marks=slow),
    pytest.param(ResNet(depth=18, width=0.0625), {}, DARTS(**BRIEF), id="resnet, darts", marks=slow),
    pytest.param(ResNet(depth=18, width=0.0625), {}, DARTS(order=2, **BRIEF), id="resnet, second order", marks=slow),
    pytest.param(MobileNetV2(width=0.1), {}, replace(STRATEGIES["gdas"], **BRIEF), id="mobilenet, gdas", marks=slow),
    pytest.param(MobileNetV2(width=0.1), {}, "evolution", id="mobilenet, evolution", marks=slow),
    pytest.param(ShuffleNetV2(), {}, DARTS(**BRIEF), id="shufflenet, darts", marks=slow),
    pytest.param(DenseNet(), {"size": (4, 4)}, DARTS(**BRIEF), id="densenet, darts", marks=slow),
    pytest.param(OSNet(), {"head_from": "conv4"}, "single_path", id="osnet, single path", marks=slow),
    pytest.param(ShallowCNN(), {}, RandomSearch(trials=2, epochs=1), id="shallow, random"),
    pytest.param(SDCCNN(), {}, "tpe", id="sdc, optuna's tpe", marks=slow),
    pytest.param(CELLS, {}, "nni:DARTS", id="cells, nni's darts", marks=slow),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("teacher"), "toy_street", toy_street())
    teach(run)
    return run.folder / "teacher.safetensors"


@pytest.mark.medium
@pytest.mark.parametrize(("backbone", "how", "strategy"), PAIRS)
def test_a_searched_backbone_is_retrained_with_the_teachers_table(tmp_path, teacher, backbone, how, strategy):
    recipe = toy_street()
    rois = replace(recipe.space.rois, size=how.get("size", recipe.space.rois.size))
    space = replace(recipe.space, backbone=backbone, rois=rois, head_from=how.get("head_from"))
    run = Run(
        tmp_path / "run",
        "toy_street",
        replace(
            recipe,
            space=space,
            strategy=STRATEGIES[strategy].small() if isinstance(strategy, str) else strategy,
            teacher=replace(recipe.teacher, weights=teacher),
            baseline=None,
        ),
    )
    search(run)
    retrain(run)
    row = evaluate(run)["rows"][-1]
    found = run.architecture()
    assert found is not None and row["role"] == "student" and found.hash in row["name"]
    assert found.decisions != space.with_ids(1).published().decisions
    assert json.loads((run.folder / "architectures.json").read_text())["ranked"][0]["student"]["multiply_adds"] > 0
