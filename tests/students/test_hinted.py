"""Students with adapters: what they tell while they are trained, and that nothing is left of it at inference."""

import numpy as np
import pytest
import torch

from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from students.hinted import Adapter, Hint, Hinted
from students.ksl import KSL
from students.reid import ReID

MAIN = ReID(backbone=ResNet(width=1 / 16), num_ids=5, embedding_dim=8)
HINTS = (Hint(student="layer2", teacher="vertical.layer3", channels=6), Hint(student="map", teacher="map", channels=3))
SPACE = Hinted(main=MAIN, hints=HINTS)


@pytest.fixture
def images():
    return torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def test_an_adapter_brings_the_channels_and_keeps_the_size_and_the_mean_square():
    torch.manual_seed(0)
    student = torch.randn(16, 64, 8, 4)
    adapted = Adapter(64, 512)(student)
    assert adapted.shape == (16, 512, 8, 4)
    assert adapted.square().mean().item() == pytest.approx(1.0, rel=0.05)
    assert not Adapter(64, 512).bias.any()


def test_it_says_what_its_network_says_and_the_maps_behind_its_adapters(images):
    net = SPACE.student().eval()
    out, alone = net(images), net.main(images)
    assert torch.equal(out.logits, alone.logits) and torch.equal(out.feature, alone.feature)
    assert set(out.maps) == {*alone.maps, "hint.vertical.layer3", "hint.map"}
    assert torch.equal(out.maps["hint.vertical.layer3"], net.adapters[0](alone.maps["layer2"]))
    assert out.maps["hint.map"].shape[1] == 3


@pytest.mark.medium
@pytest.mark.parametrize(
    "main",
    [
        MAIN,
        ReID(backbone=MobileNetV2(width=0.25), num_ids=5),
        KSL(main=MAIN, branches=("layer3", "layer4")),
    ],
    ids=["resnet", "mobilenet", "ksl"],
)
def test_inference_is_the_network_alone(main, images):
    space = Hinted(main=main, hints=(Hint(student="map", teacher="layer4", channels=7),))
    net = space.student().eval()
    alone, (alone_space, architecture) = net.inference(), space.inference(space.published())
    published = main.inference()[0]
    assert type(alone) is type(published.student()) and alone_space == published
    assert alone.state_dict().keys() == alone_space.student(architecture).state_dict().keys()
    assert torch.equal(alone(images).logits, net(images).logits)


def test_what_is_open_is_the_network_s():
    assert dict(SPACE.published().decisions) == dict(MAIN.published().decisions)
    assert set(Supernet.of(SPACE).options) == set(Supernet.of(MAIN).options)


def test_a_supernet_has_adapters_of_the_same_channels(images):
    net = Supernet.of(SPACE)
    out = net(images)
    assert out.maps["hint.vertical.layer3"].shape[:2] == (4, 6)
    torch.autograd.grad(out.maps["hint.map"].sum(), net.alpha)


def test_adapters_follow_a_width_that_is_decided():
    space = Hinted(
        main=ReID(backbone=ShallowCNN(widths=(0.25, 0.5)), num_ids=5),
        hints=(Hint(student="layer2", teacher="layer1", channels=3),),
    )
    widths = {space.student(space.sample(np.random.default_rng(seed))).adapters[0].in_channels for seed in range(8)}
    assert widths == {16, 32}


def test_a_map_that_does_not_exist_is_named_with_those_that_do():
    space = Hinted(main=MAIN, hints=(Hint(student="stage5", teacher="layer3", channels=8),))
    with pytest.raises(ValueError, match="ResNet-18 x0.0625 has no stage5, it has layer1, layer2, layer3, layer4, map"):
        space.published()
