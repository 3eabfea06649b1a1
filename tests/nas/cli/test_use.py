"""From a finished run to features, find, verify and match, by the real commands."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from nas.data.sets.pedestrians import Pedestrians
from nas.models.extractor import Extractor
from nas.models.gallery import Gallery
from nas.models.network import Network
from nas.system.weights import load_weights, save_tensors
from search_spaces.resnet import ResNet
from students.person_search import Found, PersonSearch
from tests.nas.cli.program import nas

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A list of drawn pedestrians as files."""
    folder = tmp_path_factory.mktemp("images")
    source = Pedestrians(num_train_ids=8, num_test_ids=6, images_per_id=8, num_cameras=2, height=32, width=16)
    lines = ["path,identity,camera,split"]
    for name, split in source.load().splits.items():
        for i in range(len(split)):
            file = f"{name}{i}.png"
            split.images.read(i).save(folder / file)
            lines.append(f"{file},P{split.ids[i]},{split.cameras[i]},{name}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(recipe, images, tmp_path_factory) -> Path:
    """A finished run on these images."""
    folder = tmp_path_factory.mktemp("run") / "run"
    arguments = ("--on", "csv", "--data.file", images / "list.csv", "--images.height", 32, "--images.width", 16)
    assert nas("run", recipe, *arguments, "--machine.device", "cpu", "--out", folder) == 0
    return folder


@pytest.fixture
def says(capfd, monkeypatch, tmp_path):
    """Runs a command in an empty folder that must succeed; what it says as JSON."""
    monkeypatch.chdir(tmp_path)

    def said(*arguments: object) -> dict:
        capfd.readouterr()
        assert nas(*arguments, "--json") == 0, capfd.readouterr().err
        return json.loads(capfd.readouterr().out)

    return said


@pytest.fixture
def fails(capfd, monkeypatch, tmp_path):
    """Runs a command in an empty folder that must fail before it writes anything; what it says."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert nas(*arguments) == 2
        out, err = capfd.readouterr()
        assert out == "" and "Traceback" not in err and sorted(tmp_path.rglob("*")) == before
        return err

    return check


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def test_features_are_to_the_bit_those_that_nas_evaluate_saved(run, images, says):
    saved = load_weights(run / "features/student.safetensors")[0]
    for split in ("query", "gallery"):
        said = says("features", run, images / "list.csv", "--split", split, "--out", f"{split}.safetensors")
        found = Gallery.load(Path(f"{split}.safetensors"))
        assert torch.equal(found.features, saved[split])
        assert said["images"] == len(saved[split]) and said["network"] == found.network
        files = sorted(images.glob(f"{split}*.png"), key=lambda path: int(path.stem.removeprefix(split)))
        assert found.names == tuple(path.name for path in files) and found.identity(0).startswith("P")
        assert torch.equal(Extractor(run)(files), saved[split])
        assert torch.equal(Extractor(run / "student.safetensors")(files), saved[split])


def test_the_students_file_says_what_it_takes(run):
    with safe_open(run / "student.safetensors", "pt") as file:
        card = json.loads(file.metadata()["nas"])["card"]
    assert [card[key] for key in ("height", "width", "embedding_size", "num_identities")] == [32, 16, 8, 8]


def test_a_run_of_an_earlier_version_knows_its_size_from_its_configuration(run, tmp_path):
    older = tmp_path / "run"
    shutil.copytree(run, older)
    tensors, header = load_weights(run / "student.safetensors")
    save_tensors(older / "student.safetensors", tensors, {key: header[key] for key in header if key != "card"})
    assert Network.load(older / "student.safetensors").card is None
    assert Extractor(older).card == Extractor(run).card


def test_find_ranks_the_gallery_and_marks_who_is_the_same(run, images, says):
    query = images / "query0.png"
    said = says("find", run, query, images / "list.csv", "--split", "gallery", "--top", 7)
    extractor = Extractor(run)
    gallery = sorted(images.glob("gallery*.png"))
    apart = 1 - torch.cosine_similarity(extractor([query]), extractor(gallery))
    order = apart.argsort(stable=True)[:7]
    assert [row["file"] for row in said["ranked"]] == [gallery[i].name for i in order]
    assert np.allclose([row["distance"] for row in said["ranked"]], apart[order], atol=1e-5)
    table = rows(Path("runs/out/find-query0/find.csv"))
    assert [row["file"] for row in table] == [row["file"] for row in said["ranked"]]
    assert [int(row["same at EER"]) for row in table] == [
        int(float(row["distance"]) <= said["thresholds"]["EER"]) for row in table
    ]
    with Image.open("runs/out/find-query0/find.png") as picture:
        assert picture.width > 700


def test_saved_features_give_the_same_list_and_an_index_its_recall(run, images, says):
    says("features", run, images, "--out", "all.safetensors")
    from_folder = says("find", run, images / "query1.png", images, "--top", 5)
    from_file = says("find", run, images / "query1.png", "all.safetensors", "--top", 5, "--overwrite")
    assert from_folder == from_file and from_file["ranked"][0]["distance"] < 1e-6
    pytest.importorskip("faiss")
    for index in ("hnsw", "ivf"):
        said = says("find", run, images / "query1.png", "all.safetensors", "--top", 5, "--overwrite", "--index", index)
        assert said["index"] == index and 0 < said["recall"] <= 1


def test_verify_compares_with_the_thresholds_of_the_evaluation(run, images, says, capfd):
    verified = json.loads((run / "metrics.json").read_text())["rows"][-1]["verification"]
    same = says("verify", run, images / "query0.png", images / "query0.png")
    assert same["distance"] < 1e-6 and all(each["same"] for each in same["thresholds"])
    (equal,) = (each for each in same["thresholds"] if each["name"] == "EER")
    assert equal["largest"] == pytest.approx(verified["eer_threshold"], abs=1e-6)
    assert nas("verify", run, images / "query0.png", images / "gallery1.png") == 0
    said = capfd.readouterr().out
    assert "cosine distance" in said and "EER" in said


def test_thresholds_of_another_network_are_not_taken(run, images, says, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    tensors, header = load_weights(run / "student.safetensors")
    changed = {name: 1.5 * tensor if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_tensors(other / "student.safetensors", changed, header)
    assert says("verify", other, images / "query0.png", images / "query1.png")["thresholds"] == []


@pytest.fixture
def frames(images, tmp_path) -> Path:
    """Two frames with the first two gallery images in them, and a list of their boxes with tracks."""
    lines = ["frame,x,y,w,h,track"]
    (tmp_path / "frames").mkdir()
    for number in range(2):
        frame = Image.new("RGB", (120, 60), "grey")
        for place in range(2):
            frame.paste(Image.open(images / f"gallery{place}.png"), (10 + 50 * place + number, 12))
            lines.append(f"{number}.png,{10 + 50 * place + number},12,16,32,{'ab'[place]}")
        frame.save(tmp_path / f"frames/{number}.png")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    return tmp_path / "frames"


def test_match_finds_the_boxes_in_the_gallery(run, images, frames, says):
    said = says("match", run, frames, "--boxes", "boxes.csv", "--gallery", images / "list.csv", "--split", "gallery")
    assert said["boxes"] == 4 and said["frames"] == 2 and said["tracks"] == 2 and said["same"] == 4
    table = rows(Path("runs/out/match-frames.csv"))
    assert [row["file"] for row in table] == ["gallery0.png", "gallery1.png"] * 2
    assert all(float(row["distance"]) < 1e-4 and row["same"] == "1" for row in table)
    assert table[0]["identity"].startswith("P") and (table[0]["x"], table[0]["w"]) == ("10", "16")


def test_a_tracks_features_are_averaged(run, images, frames, says):
    lines = Path("boxes.csv").read_text().replace(",b", ",a")
    Path("one.csv").write_text(lines)
    says("match", run, frames, "--boxes", "one.csv", "--gallery", images, "--batch-size", 1)
    extractor = Extractor(run, unit_length=True)
    mean = extractor([images / "gallery0.png", images / "gallery1.png"]).mean(dim=0)
    gallery = sorted(images.glob("*.png"))
    apart = 1 - torch.cosine_similarity(mean[None], extractor(gallery))
    table = rows(Path("runs/out/match-frames.csv"))
    assert {row["file"] for row in table} == {gallery[int(apart.argmin())].name}
    assert np.allclose([float(row["distance"]) for row in table], apart.min(), atol=1e-4)


def test_a_video_is_matched_as_its_frames_are(run, images, frames, says):
    av = pytest.importorskip("av")
    with av.open("gate.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 120, 60, "bgr0"
        for path in sorted(frames.iterdir()):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.open(path))))
        container.mux(stream.encode())
    Path("gate.csv").write_text(Path("boxes.csv").read_text().replace(".png", ""))
    says("match", run, "gate.mkv", "--boxes", "gate.csv", "--gallery", images)
    says("match", run, frames, "--boxes", "boxes.csv", "--gallery", images)
    video, folder = (rows(Path(f"runs/out/match-{name}.csv")) for name in ("gate", "frames"))
    assert [{**row, "frame": ""} for row in video] == [{**row, "frame": ""} for row in folder]


@pytest.fixture
def search_run(tmp_path) -> Path:
    """A folder as a run of person search leaves it, whose network takes whatever it sees for persons."""
    torch.manual_seed(0)
    space = PersonSearch(
        backbone=ResNet(width=1 / 16), embedding_dim=8, num_ids=3, found=Found(score=0.0, overlap=0.5, most=3)
    )
    folder = tmp_path / "search"
    Network(space.student().eval(), space, None, (1, 2, 3)).save(folder / "student.safetensors")
    config = dict.fromkeys(("data", "space", "student", "strategy")) | {"images": {"short_side": 64, "long_side": 96}}
    (folder / "config.json").write_text(json.dumps({"format": 2, "recipe": "none", "config": config}))
    return folder


def test_a_network_for_person_search_needs_no_boxes(search_run, images, frames, says):
    said = says("match", search_run, frames, "--gallery", images)
    table = rows(Path("runs/out/match-frames.csv"))
    assert said["frames"] == 2 and said["boxes"] == len(table) > 0 and said["same"] is None
    for row in table:
        x, y, w, h = (float(row[side]) for side in "xywh")
        assert -0.01 <= x < x + w <= 120.01 and -0.01 <= y < y + h <= 60.01 and 0 <= float(row["score"]) <= 1
        assert (images / row["file"]).is_file() and row["same"] == ""


class TestErrors:
    def test_a_gallery_of_another_networks_features(self, run, images, fails, tmp_path):
        Gallery(features=torch.ones(1, 8), names=("a",), folder=tmp_path, network="0123456789abcdef-64x32").save(
            tmp_path / "g.safetensors"
        )
        said = fails("find", run, images / "query0.png", "g.safetensors")
        assert "g.safetensors has the features of another network (0123456789abcdef-64x32, not " in said

    def test_nothing_is_overwritten_unasked(self, run, images, fails, tmp_path):
        (tmp_path / "there.safetensors").write_text("mine")
        assert "exists: give --out another place" in fails("features", run, images, "--out", "there.safetensors")

    def test_a_detector_is_for_match_alone(self, search_run, images, frames, fails):
        for word in ("features", "find", "verify"):
            subjects = {"features": (images,), "find": (images / "query0.png", images)}
            said = fails(word, search_run, *subjects.get(word, (images / "query0.png", images / "query1.png")))
            assert "finds persons in whole frames" in said and "`nas match` takes this one" in said
        said = fails("match", search_run, frames, "--boxes", "boxes.csv", "--gallery", images)
        assert "finds the persons itself: leave --boxes out" in said

    def test_crops_need_boxes(self, run, images, frames, fails):
        assert "give --boxes FILE with the columns frame,x,y,w,h" in fails("match", run, frames, "--gallery", images)

    def test_images_that_are_missing_or_broken_are_named(self, run, images, fails, tmp_path):
        (tmp_path / "some").mkdir()
        assert "contains no image that Pillow decodes" in fails("features", run, "some")
        (tmp_path / "some/broken.jpg").write_bytes(b"no image")
        assert "some/broken.jpg" in fails("features", run, "some")
        assert "nowhere.jpg does not exist" in fails("find", run, "nowhere.jpg", images)
        assert "cannot read the image some/broken.jpg" in fails("verify", run, images / "query0.png", "some/broken.jpg")

    def test_another_size_is_refused(self, run, images, fails):
        assert "takes images of" in fails("features", run, images, "--height", 100)

    def test_what_is_no_network_is_refused(self, run, images, fails, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "has no config.json" in fails("features", "empty", images)
        (tmp_path / "empty/config.json").write_bytes((run / "config.json").read_bytes())
        assert "`nas retrain empty` comes first" in fails("features", "empty", images)
        assert "does not exist" in fails("features", "nowhere.onnx", images)
