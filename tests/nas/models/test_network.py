"""A trained network as one file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from nas.models.network import FeatureNet, Network
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.ensemble import EnsembleNet

SPACES = {
    "searched": ReID(backbone=Cells(channels=2, cells=2, reductions=(2,)), embedding_dim=6, num_ids=3),
    "published": ReID(backbone=MobileNetV2(width=0.1), embedding_dim=None, num_ids=3),
    "teacher": ReID(backbone=ResNet(width=1 / 16), num_ids=3),
}
IDENTITIES = (2, 7, 1501)


def network(name: str) -> Network:
    """A network with running statistics that are not the initial ones."""
    torch.manual_seed(0)
    space = SPACES[name]
    architecture = space.sample(np.random.default_rng(0)) if name == "searched" else None
    net = space.student(architecture)
    for _ in range(2):
        net(torch.randn(4, 3, 32, 16))
    return Network(net.eval(), space, architecture, IDENTITIES)


@pytest.mark.parametrize("name", SPACES)
def test_comes_back_as_it_was(tmp_path, name):
    before = network(name)
    after = Network.load(before.save(tmp_path / "net.safetensors"))
    x = torch.randn(4, 3, 32, 16)
    for a, b in zip(before.net(x)[:3], after.net(x)[:3], strict=True):
        assert torch.equal(a, b)
    assert (after.space, after.architecture, after.identities) == (before.space, before.architecture, IDENTITIES)
    assert after.title == before.title and not after.net.training


def test_its_card_comes_back_with_it(tmp_path):
    before = network("searched")
    card = before.card_for(64, 32, "euclidean")
    after = Network.load(replace(before, card=card).save(tmp_path / "net.safetensors"))
    assert after.card == card and card.architecture == before.architecture
    assert (card.height, card.width, card.embedding_size, card.num_identities) == (64, 32, 6, 3)
    assert Network.load(before.save(tmp_path / "older.safetensors")).card is None


def test_the_header_is_json_that_others_can_read(tmp_path):
    path = network("searched").save(tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["nas"])
    assert header["space"]["kind"] == "ReID" and header["identities"] == list(IDENTITIES)
    assert set(header["architecture"]["decisions"]) == {
        f"backbone.{kind}.{node}" for kind in ("normal", "reduce") for node in range(2, 6)
    }


def test_a_strangers_file_is_refused(tmp_path):
    save_file({"fc.weight": torch.zeros(3)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match=r"theirs\.safetensors was not written by this project.*go into `pretrained`"):
        Network.load(tmp_path / "theirs.safetensors")


def test_feature_net_is_without_the_classifier_and_leaves_the_network_alone():
    net = network("searched").net
    camera = FeatureNet(net)
    x = torch.randn(2, 3, 32, 16)
    assert torch.equal(camera(x), net(x).feature)
    assert sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in camera.parameters()) == 3 * 6
    assert isinstance(net.classifier, nn.Linear)


def test_feature_net_of_several_networks_is_without_all_classifiers():
    members = {name: network(name).net for name in ("searched", "teacher")}
    net = EnsembleNet(members).eval()
    camera = FeatureNet(net)
    x = torch.randn(2, 3, 64, 32)
    assert torch.equal(camera(x), net(x).feature)
    classifiers = sum(member.classifier.weight.numel() for member in members.values())
    assert sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in camera.parameters()) == classifiers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header["space"]["backbone"].update(channels=60_000),
            r"'backbone\..* has shape|has no tensor",
        ),
        (
            lambda header: header["space"].update(num_ids=10**6),
            r"'classifier.weight' has shape \(3, 6\), the network's has \(1000000, 6\)",
        ),
        (
            lambda header: header["space"].update(kind="ReIDD"),
            "is a 'ReIDD', which is not known here .did you mean 'ReID'",
        ),
        (
            lambda header: header["architecture"]["decisions"].pop("backbone.normal.2"),
            "does not decide 'backbone.normal.2'",
        ),
        (lambda header: header["space"].update(embedding_dim=10**30), "embedding_dim must be at most"),
        (lambda header: header["space"]["backbone"].update(channels=-4), "channels must be at least 1"),
        pytest.param(
            lambda header: header["space"]["backbone"].update(cells=10**3, reductions=[2]),
            "has more than .* modules",
            marks=pytest.mark.slow,
        ),
        (lambda header: header.update(format=2), "has format 2, this version reads 1: update it"),
        (lambda header: header.update(card={"format": 1, "height": "tall"}), "the card of .*height"),
        (lambda header: header.update(space=[1]), "the header of .* must be"),
        (lambda header: header.update(identities="abc"), "identities in the header of"),
        (lambda header: header.pop("identities"), "is not as this version"),
        (lambda header: header.update(architecture=[1]), "an architecture is"),
    ],
)
def test_what_a_header_claims_is_compared_before_anything_is_allocated(tmp_path, change, message):
    path = network("searched").save(tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["nas"])
    change(header)
    save_file(load_file(path), path, {"nas": json.dumps(header)})
    with pytest.raises(ValueError, match=message) as error:
        Network.load(path)
    assert "net.safetensors" in str(error.value)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"a":' * 100_000])
def test_a_header_that_is_no_json_object_is_named(tmp_path, text):
    save_file({"a": torch.zeros(1)}, tmp_path / "net.safetensors", {"nas": text})
    with pytest.raises(ValueError, match=r"the header of \S*net.safetensors (is not JSON|must )"):
        Network.load(tmp_path / "net.safetensors")
