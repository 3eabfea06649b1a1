"""Classifiers of others as backbones: what they answer, whose weights they have, and that they teach."""

import copy
import sys

import pytest
import torch
import torchvision

from nas.cli.main import main
from nas.models.classifier import Classifier
from nas.models.network import Network
from nas.models.pretrained import load_pretrained
from search_spaces.pick import Fixed
from students.reid import ReID

TINY = ReID(backbone=Classifier(name="shufflenet_v2_x0_5", maps=("stage3",)), num_ids=5, embedding_dim=8)


def trainable(space: ReID, size: int) -> tuple[int, ...]:
    """The shape of the logits; every weight has a gradient."""
    with torch.device("meta"):
        net = space.student()
        out = net(torch.empty(2, 3, size, size))
        assert all(g is not None for g in torch.autograd.grad(out.logits.sum(), list(net.parameters())))
    return tuple(out.logits.shape)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet101", 64),
        ("googlenet", 64),
        ("inception_v3", 299),
        ("regnet_y_400mf", 64),
        ("squeezenet1_0", 64),
        ("vit_b_32", 224),
    ],
)
def test_torchvision_s_classifiers_can_be_trained(name, size):
    assert trainable(ReID(backbone=Classifier(name=name), num_ids=5), size) == (2, 5)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_s_classifiers_can_be_trained(name):
    pytest.importorskip("timm")
    assert trainable(ReID(backbone=Classifier(name=f"timm:{name}"), num_ids=5), 64) == (2, 5)


def test_its_maps_are_those_of_the_modules_named():
    net = TINY.student().eval()
    images = torch.randn(2, 3, 64, 32)
    body, maps = net.backbone.net, net(images).maps
    before = body.stage2(body.maxpool(body.conv1(images)))
    assert torch.equal(maps["stage3"], body.stage3(before)) and maps["map"].shape == (2, 1024, 1, 1)
    other = copy.deepcopy(net)
    torch.nn.init.zeros_(other.backbone.net.conv1[0].weight)
    assert not torch.equal(other(images).maps["stage3"], maps["stage3"])


@pytest.mark.medium
def test_pretrained_weights_are_the_checkpoint_s(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    space = Classifier(name="resnet18", maps=("layer4",))
    net = space.build(Fixed()).eval()
    inherited = load_pretrained(net, space, str(tmp_path / "resnet18.pth"))
    images = torch.randn(2, 3, 64, 32)
    theirs.fc = torch.nn.Identity()
    assert not inherited.left
    assert torch.equal(net(images)["map"].flatten(1), theirs(images))
    assert torch.allclose(net(images)["layer4"].mean(dim=(2, 3)), theirs(images), atol=1e-5)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Classifier(name="resnet102"), "torchvision has no classifier 'resnet102' .did you mean .*'resnet101'"),
        (Classifier(name="resnet18", maps=("layer5",)), "resnet18 has no module 'layer5' .did you mean .*'layer4'"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(space, message):
    with pytest.raises(ValueError, match=message):
        space.published()


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="timm:resnet10t needs the package timm: pip install timm"):
        Classifier(name="timm:resnet10t").build(Fixed())


@pytest.mark.medium
def test_a_module_without_a_map_and_an_image_of_another_size_are_refused():
    with torch.device("meta"):
        net = Classifier(name="resnet18", maps=("fc",)).build(Fixed())
        with pytest.raises(ValueError, match=r"maps must name modules that give \[B, C, H, W\]; fc gives \[1, 512\]"):
            net(torch.empty(1, 3, 64, 64))
        with pytest.raises(ValueError, match=r"cannot take images of 64x64 .*set --images.height and --images.width"):
            Classifier(name="vit_b_32").build(Fixed())(torch.empty(1, 3, 64, 64))


@pytest.mark.medium
def test_it_is_taught_and_loaded_through_the_command(tmp_path):
    recipe = tmp_path / "recipe_of_the_classifier_test.py"
    recipe.write_text('''
from dataclasses import replace
from nas.models.classifier import (Classifier)
from nas.recipe import Recipe
from runs.recipes.demo import toy
from students.reid import ReID

def classifier() -> Recipe:
    """A torchvision classifier as the toy's teacher."""
    recipe = toy()
    net = ReID(backbone=Classifier(name="shufflenet_v2_x0_5", maps=("stage3",)), embedding_dim=8)
    brief = replace(recipe.retrain, epochs=1, validate_every=0)
    return replace(recipe, teacher=replace(recipe.teacher, net=net, training=brief))
''')
    folder = tmp_path / "run"
    assert main(["teach", f"{recipe}:classifier", "--out", str(folder), "--machine.device", "cpu", "--json"]) == 0
    teacher = Network.load(folder / "teacher.safetensors")
    assert teacher.title == "shufflenet_v2_x0_5" and "stage3" in teacher.net(torch.zeros(1, 3, 32, 16)).maps
