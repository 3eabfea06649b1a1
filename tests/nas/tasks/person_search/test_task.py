"""Person search through the stages, at a toy's size: what a run leaves, what a kill leaves, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load_file

from nas.cli.main import main
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.street import Street
from nas.models.card import KEY, Card
from nas.models.finder_file import open_finder
from nas.models.network import Network
from nas.models.onnx_export import as_onnx
from nas.report.query_results import Queries
from nas.run import Run
from nas.stages.evaluate import check_rules
from nas.stages.export_finder import write
from nas.stages.export_form import Form
from nas.system.files import read_json
from nas.tasks.person_search.found import find
from nas.tasks.person_search.task import PersonSearchTask
from nas.training.machine import Machine
from nas.training.stage import Stage
from runs.recipes.person_search import toy_street
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.cost.counting import cost
from students.scenes import Scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run of `toy_street`: teacher, student with the teacher's table, baseline without."""
    folder = tmp_path_factory.mktemp("street") / "run"
    assert main(["run", "toy_street", "--out", str(folder), "--json"]) == 0
    return folder


@pytest.mark.medium
def test_search_and_detection_are_measured(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [row["role"] for row in metrics["rows"]] == ["teacher", "baseline", "student"]
    numbers = ("mAP", "rank1", "rank5", "rank10", "detection_AP", "detection_recall")
    assert all(0 <= row[number] <= 1 for row in metrics["rows"] for number in numbers)
    assert metrics["protocol"]["num_queries"] == 18 and metrics["protocol"]["num_frames"] == 6


@pytest.mark.medium
def test_the_students_table_is_the_teachers_to_the_bit(folder):
    teacher, student, baseline = (
        load_file(folder / f"{name}.safetensors") for name in ("teacher", "student", "baseline")
    )
    assert torch.equal(teacher["identities.table"], student["identities.table"])
    assert student["identities.fixed"] and not teacher["identities.fixed"] and not baseline["identities.fixed"]
    assert not torch.equal(teacher["identities.table"], baseline["identities.table"])


@pytest.mark.medium
def test_a_fixed_table_costs_nothing(folder):
    rows = {row["role"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}
    for key in ("multiply_adds", "parameters"):
        assert rows["student"][key] == rows["baseline"][key]


@pytest.mark.medium
def test_pictures_are_frames(folder):
    assert sorted(path.name for path in (folder / "strips").iterdir()) == [f"{n:02d}.png" for n in range(10)]
    assert (folder / "sheets" / "00.png").exists()
    assert (folder / "report.html").read_text().count("<img") >= 10


@pytest.mark.medium
def test_what_each_query_found_is_left(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    row = metrics["rows"][-1]
    found = Queries.load(folder / row["queries"])
    assert len(found.names) == len(set(found.labels)) == 18 and row["queries"] == "queries/student.csv"
    assert np.nanmean(found.average_precision) == pytest.approx(row["mAP"])
    assert found.cameras is not None and set(found.cameras.tolist()) <= {0, 1}


RULES = {"same_camera": "remove", "min_score": 0.2, "min_iou": 0.4}


@pytest.mark.medium
def test_the_rules_of_an_evaluation_are_kept_and_what_is_drawn_is_not_among_them(folder):
    def check(**changes: object) -> None:
        recipe = toy_street()
        check_rules(Run(folder, "toy_street", replace(recipe, evaluation=replace(recipe.evaluation, **changes))))

    for name, value in RULES.items():
        with pytest.raises(ValueError, match=rf"measured otherwise \(evaluation\.{name}: .*give --out another folder"):
            check(**{name: value})
    check(batch_size=2, num_strips=0, num_sheets=1)


@pytest.mark.medium
def test_other_rules_go_into_another_folder_and_take_all_of_earlier_ones_away(folder, tmp_path, capsys):
    for earlier in ("sheets", "plots"):
        (tmp_path / earlier).mkdir()
        (tmp_path / earlier / "99.png").write_bytes(b"of an earlier evaluation")
    rules = ["--evaluation.same-camera", "remove", "--evaluation.num-strips", "0", "--evaluation.num-sheets", "1"]
    assert main(["evaluate", str(folder), *rules, "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["protocol"]["same_camera"] == "remove"
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["00.png"] and not (tmp_path / "plots").exists()
    listed = json.loads((tmp_path / "thumbnails" / "index.json").read_text())
    assert listed["query"] and all((tmp_path / "thumbnails" / file).exists() for file, *_ in listed["query"].values())


@pytest.mark.medium
@pytest.mark.parametrize("architecture", ["as published", "another"])
def test_the_price_of_candidates_is_that_at_their_own_input_in_the_head_too(architecture):
    space = toy_street().space.with_ids(3)
    prices = MultiplyAdds.counted(space, 64, 96)
    chosen = space.published()
    if architecture == "another":
        chosen = replace(chosen, decisions={**chosen.decisions, "backbone.layer4.0": "bottleneck5"})
    student = PersonSearchTask().deployed(space.student(chosen))
    assert prices.predicted(chosen) == prices.real(chosen) == cost(student, 64, 96).multiply_adds


def test_what_is_further_is_of_the_same_look_as_the_map(tmp_path):
    recipe, task = toy_street(), PersonSearchTask()
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, min_score=0.0))
    stage, data = Stage(tmp_path, "search", "", Machine(device="cpu")), recipe.data.load()
    torch.manual_seed(0)
    space = replace(recipe.space, found=replace(recipe.space.found, score=0.0))
    net, part = space.with_ids(len(data.identities)).student().eval(), task.test_part(data, recipe)
    values = task.values(net, part, recipe, stage)
    detection = find(net, part.cache, part.queries, stage, recipe.evaluation).detection(part.cache, recipe.evaluation)
    assert values == {"mAP": task.value(net, part, recipe, stage), "detection_AP": detection.ap}
    assert list(values) == ["mAP", *task.further] and detection.ap > 0


def written(finder, folder, kind):
    """What gives the answers of the finder's file."""
    if kind == "openvino":
        pytest.importorskip("openvino")
    path = folder / f"finder{'.xml' if kind == 'openvino' else '.onnx'}"
    return open_finder(write(finder, path, Form(format=kind), Card(height=64, width=96)).path)


class TestExport:
    @pytest.mark.medium
    @pytest.mark.parametrize("overlap", [0.7, 0.05], ids=["as many regions in each image", "a number of regions"])
    def test_it_finds_whom_the_network_finds(self, folder, tmp_path, overlap):
        """Boxes, scores and features, in the network's order; the least score is lowered so that there are some."""
        net = Network.load(folder / "student.safetensors").net.eval()
        few = replace(net.space.proposals, overlap=overlap)
        net.space = replace(net.space, proposals=few, found=replace(net.space.found, score=0.3))
        net.rpn.how = few
        session = InferenceSession(as_onnx(PersonSearchTask().deployed(net).finder(), 64, 96))
        nothing = torch.empty(0, 4)
        for seed in range(3, 6):
            images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                (expected,) = net(Scenes(images, torch.tensor([[64, 96]]), (nothing,), (nothing[:, 0],))).detections
            found = session.run(["boxes", "scores", "features"], {"images": images.numpy()})
            assert len(expected.scores) > 1
            for one, other in zip(expected, found, strict=True):
                torch.testing.assert_close(one, torch.from_numpy(other), atol=1e-4, rtol=1e-4)

    @pytest.mark.medium
    @pytest.mark.parametrize("kind", ["onnx", "openvino"])
    @pytest.mark.parametrize("num_persons", [2, 5])
    def test_with_a_number_of_rows_the_likeliest_come_first_and_the_others_are_0(
        self, folder, tmp_path, num_persons, kind
    ):
        deployed = PersonSearchTask().deployed(Network.load(folder / "student.safetensors").net.eval())
        rng = torch.Generator().manual_seed(3)
        images = [torch.randn(1, 3, 64, 96, generator=rng) for _ in range(3)]
        with torch.no_grad():
            scores = deployed.finder(least_score=0.0)(images[0])[1]
            least_score = scores[num_persons - 1 : num_persons + 1].mean().item()
            expected = list(map(deployed.finder(least_score), images))
        file = written(deployed.finder(least_score, num_rows=4), tmp_path, kind)
        assert len(expected[0][1]) == num_persons
        for image, persons in zip(images, expected, strict=True):
            for one, other in zip(persons, file(image), strict=True):
                assert len(other) == 4 and not other[len(one) :].any()
                torch.testing.assert_close(one[:4], other[: len(one)], atol=1e-4, rtol=1e-4)

    @pytest.mark.medium
    @pytest.mark.parametrize("num_rows", [None, 4])
    def test_without_a_single_proposal_it_still_answers(self, folder, tmp_path, num_rows):
        """All boxes have no area: the network looks at the first one then, and so does the file."""
        net = Network.load(folder / "student.safetensors").net.eval()
        with torch.no_grad():
            net.rpn.deltas.bias.view(-1, 4)[:, 2:] = -50.0
        finder = PersonSearchTask().deployed(net).finder(num_rows=num_rows)
        images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
        found = written(finder, tmp_path, "onnx")(images)
        with torch.no_grad():
            expected = finder(images)
        assert [each.shape for each in found] == [each.shape for each in expected]

    @pytest.mark.medium
    @pytest.mark.parametrize(
        "words, rows", [([], None), (["--rows", "5"], 5), (["--format", "openvino", "--rows", "5"], 5)]
    )
    def test_the_command_says_what_is_in_the_file(self, folder, tmp_path, capsys, words, rows):
        if "openvino" in words:
            pytest.importorskip("openvino")
        path = tmp_path / ("net.xml" if "openvino" in words else "net.onnx")
        assert main(["export", str(folder), "--out", str(path), "--json", *words]) == 0
        said = json.loads(capsys.readouterr().out)["export"]
        assert said["images"] == [1, 3, 64, 96] and said["outputs"] == ["boxes", "scores", "features"]
        assert said["embedding_size"] == 8 and said["num_rows"] == rows
        compared = said["parity"]
        assert compared["images"] == 6 and compared["missed"] == 0 and 0 <= compared["largest_difference"] < 1e-4
        [row] = said["rows"]
        assert row["ms_per_image_1"] > 0 and list(row["timing"]["batches"]) == ["1"] and row["bytes"] > 1e4
        assert read_json(path.with_name(f"{path.name}.json")) == said
        if path.suffix == ".onnx":
            held = InferenceSession(path).get_modelmeta().custom_metadata_map[KEY]
            assert (Card.from_json(held, path).height, Card.from_json(held, path).embedding_size) == (64, 8)

    @pytest.mark.parametrize(
        "words, said",
        [
            (["--precision", "fp16"], "is exported with --format onnx or openvino"),
            (["--with-preprocessing"], "is exported with --format onnx or openvino"),
            (["--height", "32"], "is exported with --format onnx or openvino"),
            (["--rows", "11"], "--rows must be at most 10, the most persons that the network finds, got 11"),
        ],
    )
    def test_in_other_forms_it_is_refused(self, folder, tmp_path, capsys, words, said):
        assert main(["export", str(folder), "--out", str(tmp_path / "other.onnx"), *words]) == 2
        assert said in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_a_frame_with_fewer_boxes_than_rows_is_refused(self):
        net = toy_street().space.with_ids(3).student().eval()
        finder = PersonSearchTask().deployed(net).finder(num_rows=10)
        with pytest.raises(ValueError, match="--rows must be at most 8 for images this small, got 10"):
            finder(torch.zeros(1, 3, 16, 16))

    def test_openvinos_maker_is_not_told(self, tmp_path, monkeypatch):
        pytest.importorskip("openvino")  # which tells of being imported
        telemetry = pytest.importorskip("openvino_telemetry")
        told = []
        monkeypatch.setattr(telemetry.Telemetry, "send_event", lambda self, *event, **_: told.append(event))
        net = toy_street().space.with_ids(3).student().eval()
        assert written(PersonSearchTask().deployed(net).finder(num_rows=4), tmp_path, "openvino")
        assert not told

    @pytest.mark.parametrize(
        "spoil, said",
        [
            (lambda found: [each[1:] for each in found], "of 6 one of the two alone finds 1: nothing is written"),
            (lambda found: [found[0], found[1] + 0.01, *found[2:]], "boxes, scores, features must be within 0.0001"),
        ],
        ids=["a person less", "other scores"],
    )
    def test_a_file_that_finds_others_is_not_written(self, folder, tmp_path, monkeypatch, capsys, spoil, said):
        boxes = torch.tensor([[0.0, 0, 20, 40], [30, 0, 50, 40], [60, 0, 80, 40]])
        found = [boxes, torch.tensor([0.9, 0.8, 0.7]), torch.eye(3, 8)]

        class Fixed(torch.nn.Module):
            outputs, num_rows = ("boxes", "scores", "features"), None

            def forward(self, images):
                return found

        files = iter([spoil, lambda found: found])

        def opened(path):
            how = next(files)
            return lambda images: how(found)

        monkeypatch.setattr("nas.tasks.person_search.deployed.Deployed.finder", lambda *_, **__: Fixed())
        monkeypatch.setattr("nas.stages.export_finder.as_onnx", lambda *_: b"")
        monkeypatch.setattr("nas.stages.export_finder.with_card", lambda *_: b"")
        monkeypatch.setattr("nas.stages.export_finder.open_finder", opened)
        monkeypatch.setattr("nas.stages.export_finder.NUM_FRAMES", 1)
        assert main(["export", str(folder), "--out", str(tmp_path / "other.onnx")]) == 2
        assert said in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_a_detector_alone_gives_no_features(self):
        net = replace(toy_street().space, embedding_dim=None).with_ids(3).student().eval()
        assert PersonSearchTask().deployed(net).finder().outputs == ("boxes", "scores")


REFUSED = {
    "crops' images": (lambda recipe: replace(recipe, images=Images()), "SceneSize as images, not Images"),
    "crops' batches": (
        lambda recipe: replace(recipe, retrain=replace(recipe.retrain, sampling=ClassBalanced())),
        "not ClassBalanced",
    ),
    "few frames": (
        lambda recipe: replace(
            recipe, retrain=replace(recipe.retrain, sampling=replace(recipe.retrain.sampling, batch_size=99))
        ),
        "a batch has 99 frames, but Street has only 12",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_recipe_of_scenes_is_refused_before_work(change, message):
    with pytest.raises(ValueError, match=message):
        change(toy_street()).load()


def test_training_frames_without_an_identity_are_refused_before_work(monkeypatch):
    data = toy_street().data.load()
    strangers = replace(data.train, ids=tuple(np.full_like(ids, -1) for ids in data.train.ids))
    monkeypatch.setattr(Street, "load", lambda _: replace(data, train=strangers))
    with pytest.raises(ValueError, match="Street has no identity to train on"):
        toy_street().load()


@pytest.mark.parametrize(("recipe", "name"), [("toy_street", "market1501"), ("toy", "street")])
def test_a_data_set_of_another_task_is_refused(tmp_path, capsys, recipe, name):
    assert main(["teach", recipe, "--on", name, "--out", str(tmp_path / "run")]) == 2
    assert f"{name} is a data set for" in (said := capsys.readouterr().err) and said.count("\n") == 1
