"""The same features of the same images, whatever kind of file holds the network."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.models.card import KEY, Card
from nas.models.extractor import Extractor
from nas.models.network import Network
from search_spaces.resnet import ResNet
from students.person_search import PersonSearch
from students.reid import ReID

SIZE = (32, 16)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    space = ReID(backbone=ResNet(width=1 / 16), embedding_dim=8, num_ids=3)
    return Network(space.student().eval(), space, None, (1, 2, 3))


@pytest.fixture
def saved(network, tmp_path) -> Path:
    """With its card."""
    return replace(network, card=network.card_for(*SIZE)).save(tmp_path / "student.safetensors")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Images of several formats and sizes, one of them lying on its side."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for number, suffix in enumerate(("png", "jpg", "bmp", "webp", "tif")):
        image = Image.fromarray(rng.integers(0, 255, (40 + number, 20, 3)).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if suffix == "jpg" else 1
        paths.append(folder / f"{number}.{suffix}")
        image.save(paths[-1], exif=exif) if suffix == "jpg" else image.save(paths[-1])
    return paths


def by_hand(network: Network, paths: list[Path]) -> torch.Tensor:
    """What the network says of images that Pillow turns and resizes."""
    images = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        if path.suffix == ".jpg":
            image = image.transpose(Image.Transpose.ROTATE_270)
        images.append(np.asarray(image.resize(SIZE[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        return network.net((torch.from_numpy(np.stack(images)) / 255 - mean) / std).feature


def colours(path: Path, card: Card | None, takes_bytes: bool = False, size: tuple = SIZE) -> Path:
    """An ONNX file whose features are the mean colours of an image."""
    kind = TensorProto.UINT8 if takes_bytes else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["features"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, *size])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card:
        helper.set_model_props(model, {KEY: card.to_json()})
    onnx.save(model, path)
    return path


def test_features_are_those_of_the_network(network, saved, pictures):
    extractor = Extractor(saved)
    assert torch.allclose(extractor(pictures), by_hand(network, pictures), atol=1e-5)
    assert extractor.card.num_identities == 3 and extractor.card.embedding_size == 8


def test_files_arrays_tensors_and_images_say_the_same(saved, pictures):
    extractor = Extractor(saved, batch_size=2)
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in pictures if path.suffix != ".jpg"]
    files = extractor([str(path) for path in pictures if path.suffix != ".jpg"])
    assert torch.equal(files, extractor(arrays))
    assert torch.equal(files, extractor([torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]))
    assert torch.equal(files, extractor([Image.fromarray(array) for array in arrays]))


def test_unit_length_is_asked_for(saved, pictures):
    raw, unit = Extractor(saved)(pictures), Extractor(saved, unit_length=True)(pictures)
    assert torch.allclose(unit.norm(dim=1), torch.ones(len(unit))) and not torch.allclose(raw, unit)


def test_what_does_not_fit_into_memory_is_the_same(saved, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(Extractor(saved)(pictures), Extractor(saved, max_gib=0)(pictures))


def test_a_file_of_an_earlier_version_is_told_its_size(network, tmp_path, pictures, capfd):
    path = network.save(tmp_path / "older.safetensors")
    with pytest.raises(ValueError, match="does not say how large its images are: give --height and --width"):
        Extractor(path)
    assert torch.allclose(Extractor(path, height=32, width=16)(pictures), by_hand(network, pictures), atol=1e-5)
    said = capfd.readouterr().err
    assert "assumed are images of 32x16 in RGB, ImageNet's mean and standard deviation, cosine distance" in said


def test_another_size_is_refused(saved):
    with pytest.raises(ValueError, match="takes images of 32x16 .* not 64"):
        Extractor(saved, height=64)


def test_the_same_file_has_the_same_id_and_another_one_not(network, saved, tmp_path):
    wider = replace(network, card=network.card_for(32, 24)).save(tmp_path / "wider.safetensors")
    assert Extractor(saved).id == Extractor(saved).id != Extractor(wider).id


def test_a_detector_is_refused(tmp_path):
    space = PersonSearch(backbone=ResNet(width=1 / 16), embedding_dim=8, num_ids=3)
    path = Network(space.student(), space, None, (1, 2, 3)).save(tmp_path / "search.safetensors")
    with pytest.raises(ValueError, match="finds persons in whole frames.*`nas match` takes this one"):
        Extractor(path, height=64, width=64)


@pytest.mark.parametrize("takes", ["normalised", "uint8"])
def test_an_onnx_file_is_used_as_its_card_says(tmp_path, pictures, takes, capfd):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    card = Card(height=32, width=16, mean=mean, std=std, takes=takes, embedding_size=3, distance="euclidean")
    extractor = Extractor(colours(tmp_path / "net.onnx", card, takes == "uint8"))
    array = np.full((50, 30, 3), (51, 102, 255), dtype=np.uint8)
    expected = torch.tensor([51.0, 102.0, 255.0])
    if takes == "normalised":
        expected = (expected / 255 - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(extractor([array, array])[1], expected, atol=1e-4)
    assert extractor.card == card and capfd.readouterr().err == ""


def test_an_onnx_file_without_a_card_says_what_is_assumed(tmp_path, pictures, capfd):
    array = np.zeros((8, 8, 3), dtype=np.uint8)
    found = Extractor(colours(tmp_path / "net.onnx", None))([array])
    assert torch.allclose(found[0], -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD), atol=1e-4)
    assert "net.onnx has no card that says how it is used: assumed are images of 32x16" in capfd.readouterr().err
    free = colours(tmp_path / "free.onnx", None, size=("height", "width"))
    with pytest.raises(ValueError, match="does not say how large"):
        Extractor(free)
    assert Extractor(free, height=16, width=16).card.height == 16


def test_an_openvino_file_is_used_as_its_card_says(tmp_path):
    openvino = pytest.importorskip("openvino")
    card = Card(height=32, width=16, takes="uint8", embedding_size=3)
    model = openvino.convert_model(colours(tmp_path / "net.onnx", None, takes_bytes=True))
    model.set_rt_info(card.to_json(), [KEY])
    openvino.save_model(model, tmp_path / "net.xml", compress_to_fp16=False)
    extractor = Extractor(tmp_path / "net.xml")
    array = np.full((32, 16, 3), (1, 2, 3), dtype=np.uint8)
    assert extractor([array, array, array]).tolist() == [[1, 2, 3]] * 3
    assert extractor.card == card


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "a list of one image or more"),
        ("a.jpg", "a list of one image or more"),
        ([np.zeros((3, 8, 8))], r"must be a file, a uint8 array \[H, W, 3\].*got float64 \[3, 8, 8\]"),
        ([torch.zeros(8, 8, 3, dtype=torch.uint8)], "must be a file"),
        (["nowhere.jpg"], "cannot read the image nowhere.jpg"),
    ],
)
def test_what_is_no_image_is_named(saved, images, said):
    with pytest.raises(ValueError, match=said):
        Extractor(saved)(images)


def test_images_that_cannot_be_read_are_named_before_any_is_used(saved, tmp_path, pictures):
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:300])
    with pytest.raises(ValueError, match=r"broken.png: .* Replace or remove them$"):
        Extractor(saved)([*pictures, tmp_path / "broken.png"])


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere.onnx", "does not exist"), ("net.pt", "ends in .safetensors, .onnx, .xml"), ("", "has no config.json")],
)
def test_what_is_no_network_is_refused(tmp_path, name, said):
    with pytest.raises(ValueError, match=said):
        Extractor(tmp_path / name)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"no")
    with pytest.raises(ValueError, match="not an ONNX file"):
        Extractor(tmp_path / "net.onnx")
