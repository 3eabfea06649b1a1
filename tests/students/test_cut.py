"""Where backbones are cut for regions."""

import pytest
import torch

from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.pick import Fixed
from search_spaces.relaxed import Relaxed
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.cut import Cut, cut, make_constant, norms_of


@pytest.mark.medium
@pytest.mark.parametrize(
    "space, head, channels",
    [
        (ResNet(depth=18), ("layer4",), 256),
        (ResNet(depth=34), ("layer4",), 256),
        (ResNet(depth=50), ("layer4",), 1024),
        (MobileNetV2(), ("stage6", "stage7", "last"), 96),
        (ShuffleNetV2(), ("stage4", "conv5"), 232),
        (DenseNet(), ("denseblock4",), 1024),
        (ShallowCNN(), ("layer5",), 192),
        (OSNet(), ("conv5",), 512),
    ],
    ids=lambda value: getattr(value, "title", ""),
)
def test_the_head_begins_where_the_stride_exceeds_16(space, head, channels):
    found = cut(space, Fixed(), 3, 16, None, (14, 14))
    assert (found.head, found.channels, found.stride) == (head, channels, 16)


def test_a_supernet_is_cut_as_its_students():
    space = ShallowCNN()
    assert cut(space, Relaxed(), 3, 16, None, (14, 14)) == cut(space, Fixed(), 3, 16, None, (14, 14))


def test_stride_and_stage_can_be_given():
    assert cut(ResNet(), Fixed(), 3, 8, None, (14, 14)) == Cut(("layer1", "layer2"), ("layer3", "layer4"), (64, 128), 8)
    assert cut(OSNet(), Fixed(), 3, 16, "conv4", (14, 14)) == Cut(
        ("conv2", "conv3"), ("conv4", "conv5"), (256, 384), 16
    )


def test_the_last_stage_is_the_heads_even_where_the_stride_never_exceeds():
    assert cut(SDCCNN(), Fixed(), 3, 16, None, (14, 14)).head == ("unit5",)
    assert cut(ResNet(last_stride=1), Fixed(), 3, 32, None, (14, 14)).head == ("layer4",)


def test_a_backbone_without_stages_makes_the_map():
    assert cut(Cells(reductions=(3, 5)), Fixed(), 3, 16, None, (14, 14)) == Cut(("map",), (), (512,), 16)


def test_it_follows_what_a_pick_decides():
    space = MobileNetV2(other_widths=(0.5,))
    decisions = {f"backbone.{name}": answer for name, answer in space.published().decisions.items()}
    narrow = Fixed(Architecture("", {**decisions, "backbone.width": 0.5}))
    assert cut(space, narrow, 3, 16, None, (14, 14)).channels == 48


@pytest.mark.medium
@pytest.mark.parametrize(
    "space, stride, head_from, message",
    [
        (OSNet(), 16, "conv2", r"cannot begin the head from conv2:.*it has conv2 \(stride 8\), conv3 \(stride 16\)"),
        (OSNet(), 16, "conv9", "cannot begin the head from conv9:.*conv5"),
        (OSNet(), 4, None, "cannot make a map of stride 4 or less"),
        (Cells(), 16, None, "a stride of at most 16, and that of 8 kdas cells, C=32 has 32: take fewer reductions"),
        (Cells(reductions=(3,)), 16, "map", "has no stages to begin the head from: leave head_from out"),
    ],
)
def test_what_cannot_be_cut_is_refused(space, stride, head_from, message):
    with pytest.raises(ValueError, match=message):
        cut(space, Fixed(), 3, stride, head_from, (14, 14))


def test_regions_that_are_too_small_for_the_head_are_refused():
    with pytest.raises(
        ValueError, match="4x2 pixels is too small for the head, stages denseblock3, denseblock4: enlarge"
    ):
        cut(DenseNet(), Fixed(), 3, 8, None, (4, 2))


def test_a_constant_norm_is_loaded_and_not_trained():
    net, other = ResNet(width=1 / 8).student(), ResNet(width=1 / 8).student()
    for norm in norms_of(net):
        make_constant(norm)
    for norm in norms_of(other):
        torch.nn.init.uniform_(norm.weight)
    assert net.state_dict().keys() == other.state_dict().keys()
    assert not any(name.partition(".")[0] == "bn1" for name, _ in net.named_parameters())
    net.load_state_dict(other.state_dict())
    x = torch.randn(2, 3, 64, 32)
    assert torch.equal(net(x)["map"], other(x)["map"])
