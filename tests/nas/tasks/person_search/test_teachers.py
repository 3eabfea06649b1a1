"""Teachers of person search through the real command: what is heard of them, and what is refused before any work."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.data.scene_crops import Crops, crops_of
from nas.data.scenes import Boxes
from nas.losses.oim import DetectorKD, OIMLoss
from nas.models.network import Network
from nas.models.teacher import load_teacher
from nas.stages.teacher import rehearse
from nas.tasks.person_search.table import mean_features
from nas.tasks.person_search.task import PersonSearchTask
from search_spaces.cost.counting import cost
from search_spaces.shallow_cnn import ShallowCNN
from students.reid import ReID
from students.rpn import Anchors
from students.scenes import DETECTOR, TABLE
from students.teaching import DetectorSays, TableSays
from teachers.person_search import IdentityTableOnly

RECIPE = recipe_named("toy_street")[1]
DATA = RECIPE.data.load()
DRAWN = [f"--data.num-{name.replace('_', '-')}" for name in ("train_scenes", "test_scenes", "train_ids", "test_ids")]
STREET = [word for flag, number in zip(DRAWN, (12, 6, 4, 4), strict=True) for word in (flag, str(number))]
STREET += ["--data.num-cameras", "2", "--data.height", "64", "--data.width", "96"]
OWN = '''
from dataclasses import replace
from nas.losses.oim import DetectorKD, OIMLoss
from runs.recipes.person_search import street_kd_det, toy_street
from students.hinted import Hint, Hinted
from nas.recipe import Recipe

def both() -> Recipe:
    """An epoch under both teachers."""
    recipe = toy_street()
    brief = replace(recipe.retrain, epochs=1, validate_every=0)
    loss = OIMLoss(weight=0.1, fixed_table=True, detector=DetectorKD())
    plain = replace(recipe.evaluation, num_strips=0, num_sheets=0)
    return replace(recipe, baseline=None, retrain=brief, loss=loss, evaluation=plain)

def taught_by_a_table() -> Recipe:
    """KD_reid alone."""
    return replace(both(), loss=OIMLoss(weight=0.1, fixed_table=True))

def hinted() -> Recipe:
    """The same with a hint, and no table."""
    recipe = both()
    space = Hinted(main=recipe.space, hints=(Hint(student="layer2", teacher="layer2", channels=8),))
    return replace(recipe, space=space, loss=replace(street_kd_det().loss, each=OIMLoss(detector=DetectorKD())))
'''


def network(space, filled=True, identities=DATA.identities) -> Network:
    """One that nobody trained, whose table is full."""
    torch.manual_seed(0)
    space = space.with_ids(len(identities))
    net = space.student().eval()
    if filled and getattr(net, "identities", None) is not None:
        net.identities.table.copy_(F.normalize(torch.randn_like(net.identities.table)))
        net.identities.filled.fill_(True)
    return Network(net, space, None, identities)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Networks by what they can do, in their files."""
    folder = tmp_path_factory.mktemp("teachers")
    det, crops = replace(RECIPE.space, embedding_dim=None), ReID(backbone=ShallowCNN(widths=(1 / 16,)), embedding_dim=8)
    spaces = {
        "oim": network(RECIPE.space),
        "det": network(det),
        "empty": network(RECIPE.space, filled=False),
        "wide": network(replace(RECIPE.space, embedding_dim=12)),
        "anchors": network(replace(det, anchors=Anchors(sizes=(16.0, 32.0), ratios=(3.0,)))),
        "others": network(RECIPE.space, identities=(0, 1, 2, 9)),
        "crops": network(crops),
    }
    return {name: each.save(folder / f"{name}.safetensors") for name, each in spaces.items()} | {"folder": folder}


@pytest.fixture
def nas(tmp_path, monkeypatch, capsys):
    """Runs the program in an empty folder; what it says as JSON, or the line with which it fails."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)

    def run(*words: object, status: int = 0):
        assert main([*map(str, words), *["--json"] * (not status)]) == status
        said = capsys.readouterr()
        if status:
            assert "Traceback" not in said.err and not Path("run").exists()
            return said.err.strip().splitlines()[-1]
        return json.loads(said.out)

    return run


@pytest.mark.medium
def test_one_network_or_two_teach_a_detector_and_a_table(nas, files):
    members = ("--teacher.members", files["det"], files["oim"])
    nas("teach", "own.py:both", "--out", "run", *members)
    nas("retrain", "run")
    whole, oim, student = (
        Network.load(path).net
        for path in (Path("run/teacher.safetensors"), files["oim"], Path("run/student.safetensors"))
    )
    scenes = RECIPE.task.example(RECIPE, 4).images._replace(tensors=torch.randn(2, 3, 64, 96))
    said = whole.teach(scenes, (TABLE, DETECTOR))
    alone = Network.load(files["det"]).net.teach(scenes, (DETECTOR,))
    assert torch.equal(said.maps[TABLE], oim.identities.table) and torch.equal(said.deltas, alone.deltas)
    assert torch.equal(student.identities.table, oim.identities.table) and student.identities.fixed
    deployed, first = (PersonSearchTask().deployed(net) for net in (whole, Network.load(files["det"]).net))
    assert cost(deployed, 64, 96) == cost(first, 64, 96) and deployed.finder().outputs == ("boxes", "scores")
    (line,) = Path("run/retrain.history.jsonl").read_text().splitlines()
    assert {"oim", "rpn_soft", "rpn_bounded", "soft", "bounded"} <= json.loads(line)["loss"].keys()


@pytest.mark.medium
def test_a_hint_is_heard_and_its_adapter_is_gone_afterwards(nas, files):
    rows = nas("run", "own.py:hinted", "--teacher.weights", files["det"], "--out", "run")["metrics"]["rows"]
    assert [("mAP" in row, "detection_AP" in row) for row in rows] == [(False, True), (True, True)]
    student = replace(RECIPE.space, norms="batch").with_ids(4)
    assert Network.load(Path("run/student.safetensors")).space == student
    (line,) = Path("run/retrain.history.jsonl").read_text().splitlines()
    assert {"hint", "soft"} <= json.loads(line)["loss"].keys()


def test_a_table_alone_needs_no_forward_pass(files):
    net = Network.load(files["oim"]).net
    assert isinstance(net.teach(None, (TABLE,)), TableSays) and isinstance(net.teach(None, ()), TableSays)
    scenes = RECIPE.task.example(RECIPE, 4).images._replace(tensors=torch.randn(2, 3, 64, 96))
    both = net.teach(scenes, (TABLE, DETECTOR, "layer1"))
    assert isinstance(both, DetectorSays) and set(both.maps) == {TABLE, "layer1"}


@pytest.mark.medium
@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("empty", "every row filled; 4 of 4 are not, of the identities 0, 1, 2, 3: train the teacher for longer"),
        ("wide", "they have 12 numbers, the student's embedding_dim is 8; give the student embedding_dim=12"),
        ("det", "must have a table of them, and this is a detector alone"),
        ("anchors", "the student has sizes x ratios (16.0, 32.0) x (2.0,), every 8 pixels, the teacher (16.0, 32.0)"),
        ("others", "identity number 3 is 9, that of"),
        ("crops", "is for reid, and the data set for person_search: take one for person_search"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_any_work(teacher, said, files):
    recipe = replace(RECIPE, loss=OIMLoss(fixed_table=True, detector=DetectorKD()))
    path = files[teacher]
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{re.escape(said)}"):
        rehearse(recipe, load_teacher(path, DATA.identities, DATA.name, "person_search"), str(path))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("teach toy_street --teacher.net.embedding-dim 12", "give the student embedding_dim=12"),
        ("teach toy_street --teacher.net.embedding-dim None", "this is a detector alone"),
        (
            "run toy_street --teacher None",
            "takes a teacher's identity table, and the recipe has no teacher",
        ),
        ("run toy_street --space.norms statistics", "norms='statistics' keeps the statistics of pretrained weights"),
        ("run toy_street --baseline.norms all", "norms='all' keeps the statistics of pretrained weights"),
        ("teach toy_street --teacher.members {oim} {crops}", "crops.safetensors (Shallow CNN"),
        ("teach toy --teacher.members {oim} {oim}", "is for person_search, and the data set for reid"),
        ("teach toy_street --loss kd", "the loss KDLoss is for reid, and the data set for person_search"),
        (
            "identity-table {crops}",
            "an identity table needs a data set whose persons it has: --on NAME, with",
        ),
        ("identity-table {crops} --on market1501", "market1501 is a data set for reid"),
        ("identity-table {oim} --on street", "its own table is taken with --teacher.weights"),
        ("identity-table {crops} --on street --out {oim}", "oim.safetensors exists: give --out another file"),
        ("identity-table {crops} --on street --out table.onnx", "--out must be a file named *.safetensors"),
    ],
)
def test_what_does_not_fit_is_one_line(words, said, nas, files):
    words = words.format(**files).split()
    assert said in nas(*words, *["--out", "run"] * (words[0] != "identity-table"), status=2)


@pytest.mark.medium
def test_a_network_for_crops_gives_a_table_that_teaches(nas, files):
    out = ["--out", "table.safetensors", "--images.height", 32, "--images.width", 16]
    made = nas("identity-table", files["crops"], "--on", "street", *STREET, *out)
    assert (made["table"], made["identities"], made["embedding_dim"]) == ("table.safetensors", 4, 8)
    table = Network.load(Path("table.safetensors"))
    found = table.net.teach(None, (TABLE,)).maps[TABLE]
    assert table.identities == DATA.identities and found.shape == (4, 8)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 4)
    said = nas("run", "own.py:taught_by_a_table", "--teacher.weights", "table.safetensors", "--out", "run")
    assert torch.equal(Network.load(Path("run/student.safetensors")).net.identities.table, found)
    assert [row["role"] for row in said["metrics"]["rows"]] == ["student"], "a table is not measured"


def test_a_table_leads_no_members(nas, files):
    space = IdentityTableOnly(num_ids=4, embedding_dim=8)
    table = Network(space.student(), space, None, DATA.identities).save(files["folder"] / "table.safetensors")
    words = ("teach", "toy_street", "--out", "run", "--teacher.members", table, files["oim"])
    assert "the first of the teacher's members must be a detector" in nas(*words, status=2)


def test_the_mean_of_an_identity_is_that_of_its_directions():
    features, ids = torch.tensor([[3.0, 0], [0, 0.5], [0, -2], [0, -1]]), torch.tensor([7, 7, 2, 2])
    assert mean_features(features, ids, (2, 7)).tolist() == [[0, -1], pytest.approx([0.5**0.5] * 2)]


def test_crops_are_the_persons_with_an_identity_as_far_as_they_are_in_their_frames():
    split = DATA.train
    crops, boxes = crops_of(split), split.all_boxes
    known = boxes.ids >= 0
    assert (crops.ids == boxes.ids[known]).all() and 0 < len(crops) < len(boxes.ids)
    frame, (x1, y1, x2, y2) = split.images.read(int(boxes.frames[known][0])), boxes.corners[known][0]
    assert crops.images.read(0) == frame.crop((int(x1), int(y1), math.ceil(x2), math.ceil(y2)))
    out = Boxes(np.arange(2), np.array([[90.5, 10, 120, 200], [96, 0, 120, 64]]), np.array([0, 1]))
    assert Crops(split.images, out).read(0).size == (6, 54)
    with pytest.raises(ValueError, match=r"\[96.0, 0.0, 120.0, 64.0\] is outside its frame of 96x64 pixels"):
        Crops(split.images, out).read(1)
