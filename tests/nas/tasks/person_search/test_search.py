"""Backbones of person search are searched by every kind of strategy: search, derive, retrain, evaluate."""

import json
from dataclasses import replace

import pytest

from nas.cli.main import main
from nas.losses.oim import OIMLoss
from nas.run import Run
from nas.stages.evaluate import evaluate
from nas.stages.report import report
from nas.stages.retrain import retrain
from nas.stages.search import check_search, search
from nas.stages.teach import teach
from nas.strategies import STRATEGIES
from nas.strategies.darts import DARTS
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.random_search import RandomSearch
from runs.recipes.demo import toy
from runs.recipes.person_search import qeeps, toy_street
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2

CELLS = Cells(channels=4, cells=3, reductions=(2,))
ALONE = replace(toy_street(), teacher=None, baseline=None, loss=OIMLoss(), strategy=RandomSearch())
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


@pytest.mark.medium
def test_search_and_detection_are_weighed_against_the_cost(tmp_path, capsys):
    """NSGA-II with three objectives: all numbers are in the history, in the lists, in what is shown and on the page."""
    strategy = OptunaSearch(sampler="nsga2", trials=3, population=2, epochs=1)
    settings = replace(ALONE.search, further=("detection_AP",))
    run = Run(tmp_path / "run", "toy_street", replace(ALONE, strategy=strategy, search=settings))
    search(run)
    history = [json.loads(line) for line in (run.folder / "search.history.jsonl").read_text().splitlines()]
    assert all(line["further"].keys() == {"detection_AP"} and 0 <= line["score"] <= 1 for line in history)
    found = json.loads((run.folder / "architectures.json").read_text())
    said = {(line["cost"], line["score"], line["further"]["detection_AP"]) for line in history}
    for entries in (found["ranked"], found["front"]):
        assert entries and {(each["cost"], each["score"], each["further"]["detection_AP"]) for each in entries} <= said
    assert main(["show", str(run.folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["further"] for row in shown["ranked"]] == [entry["further"] for entry in found["ranked"]]
    assert main(["show", str(run.folder)]) == 0 and "detection AP" in capsys.readouterr().out
    assert "detection AP against" not in (page := report(run).read_text()) and '"name":"detection AP"' in page


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(ALONE, strategy=DARTS()), "measured of networks that are trained one by one: .* nsga2"),
        (replace(ALONE, space=qeeps().space), "a query-guided network .* leave it out"),
        (replace(toy(), strategy=RandomSearch()), "--search.further must be of nothing for this data set"),
    ],
)
def test_what_cannot_be_weighed_is_said(recipe, said):
    weighing = replace(recipe.search, further=("detection_AP",))
    with pytest.raises(ValueError, match=said):
        check_search(replace(recipe, search=weighing))


def test_an_accuracy_that_is_not_there_is_named():
    weighing = replace(ALONE, search=replace(ALONE.search, further=("detection_AR",)))
    with pytest.raises(ValueError, match="must be of detection_AP .*, not detection_AR .did you mean 'detection_AP'"):
        check_search(weighing)
