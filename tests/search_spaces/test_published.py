"""The published networks: parameter counts of papers and libraries, torchvision's names and outputs."""

import pytest
import torch
import torchvision
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.cell import AUTO_REID, DARTS_V2, Cells, genotype
from search_spaces.cost.counting import cost, thop_cost
from search_spaces.densenet import DenseNet
from search_spaces.derive import derive
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.reid import ReID


def num_parameters(net):
    return sum(parameter.numel() for name, parameter in net.named_parameters() if name != "alpha")


def num_with_linear(net, num_classes):
    return num_parameters(net) + (net.out_channels + 1) * num_classes


def on_meta(build, *args, **options):
    with torch.device("meta"):
        return build(*args, **options)


@pytest.mark.parametrize(
    ("space", "count"),
    [
        (MobileNetV2(), 3_504_872),
        (ResNet(depth=18), 11_689_512),
        (ResNet(depth=34), 21_797_672),
        (ResNet(depth=50), 25_557_032),
        (ResNet(depth=101), 44_549_160),
        (ResNet(depth=152), 60_192_808),
        (DenseNet(), 7_978_856),
    ],
    ids=repr,
)
def test_counts_with_the_imagenet_classifier(space, count):
    assert num_with_linear(on_meta(space.student), 1000) == count


TORCHVISION = {
    "mobilenet_v2": (MobileNetV2(), torchvision.models.mobilenet_v2),
    "mobilenet_v2 x0.35": (MobileNetV2(width=0.35), lambda: torchvision.models.mobilenet_v2(width_mult=0.35)),
    "mobilenet_v2 x1.4": (MobileNetV2(width=1.4), lambda: torchvision.models.mobilenet_v2(width_mult=1.4)),
    "resnet18": (ResNet(depth=18), torchvision.models.resnet18),
    "resnet34": (ResNet(depth=34), torchvision.models.resnet34),
    "resnet50": (ResNet(depth=50), torchvision.models.resnet50),
    "resnet101": (ResNet(depth=101), torchvision.models.resnet101),
    "densenet121": (DenseNet(), torchvision.models.densenet121),
    "shufflenet_v2 x0.5": (ShuffleNetV2(width=0.5), torchvision.models.shufflenet_v2_x0_5),
    "shufflenet_v2": (ShuffleNetV2(), torchvision.models.shufflenet_v2_x1_0),
    "shufflenet_v2 x2": (ShuffleNetV2(width=2.0), torchvision.models.shufflenet_v2_x2_0),
}


def trunk(net):
    """A torchvision classifier up to its pooling."""
    if isinstance(net, torchvision.models.DenseNet):
        return nn.Sequential(net.features, nn.ReLU())
    if hasattr(net, "features"):
        return net.features
    layers = list(net.named_children())
    return nn.Sequential(*(layer for name, layer in layers if name not in ("avgpool", "fc")))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_weights_load_by_name_and_give_its_outputs(name):
    space, torchvisions = TORCHVISION[name]
    torch.manual_seed(0)
    theirs = torchvisions().eval()
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith(("fc.", "classifier."))}
    mine = space.student().eval()
    assert set(mine.state_dict()) == set(weights)
    mine.load_state_dict(weights)
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(mine(images)["map"], trunk(theirs)(images))


def test_a_student_from_scratch_starts_as_torchvisions():
    for space, torchvisions in (TORCHVISION["mobilenet_v2 x0.35"], TORCHVISION["resnet18"]):
        torch.manual_seed(0)
        theirs = dict(trunk(torchvisions()).named_parameters())
        spread = {weight.shape: weight.std().item() for weight in theirs.values() if weight.dim() == 4}
        for weight in space.student().parameters():
            if weight.dim() == 4 and weight.numel() > 5000:
                assert weight.std().item() == pytest.approx(spread[weight.shape], rel=0.1)


@pytest.mark.parametrize(
    "space",
    [
        MobileNetV2(last_stride=1, width=0.1),
        ResNet(last_stride=1, width=1 / 16),
        ResNet(depth=50, last_stride=1, width=1 / 16),
    ],
    ids=repr,
)
def test_the_last_stride_doubles_the_map(space):
    def last_map(s):
        return on_meta(s.student)(torch.empty(2, 3, 256, 128, device="meta"))["map"].shape[2:]

    assert last_map(space) == (16, 8)
    assert last_map(type(space)(**{**vars(space), "last_stride": 2})) == (8, 4)


def test_named_maps_halve_with_the_stages():
    images = torch.empty(1, 3, 256, 128, device="meta")
    maps = on_meta(ResNet().student)(images)
    assert {name: (m.shape[1], m.shape[2]) for name, m in maps.items()} == {
        "layer1": (64, 64),
        "layer2": (128, 32),
        "layer3": (256, 16),
        "layer4": (512, 8),
        "map": (512, 8),
    }
    maps = on_meta(MobileNetV2().student)(images)
    assert {name: (m.shape[1], m.shape[2]) for name, m in maps.items()} == {
        "stage1": (16, 128),
        "stage2": (24, 64),
        "stage3": (32, 32),
        "stage4": (64, 16),
        "stage5": (96, 16),
        "stage6": (160, 8),
        "stage7": (320, 8),
        "map": (1280, 8),
    }


@pytest.mark.parametrize("key", [f"k{kernel}e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6)])
def test_a_mobilenet_block_is_what_its_key_says(key):
    space = MobileNetV2()
    decisions = {**space.published().decisions, "block3": key}
    expand, depthwise, *_ = on_meta(space.student, Architecture("MobileNetV2", decisions)).features[3].conv
    hidden = 24 * int(key[3])
    assert expand[0].weight.shape == (hidden, 24, 1, 1)
    assert depthwise[0].weight.shape == (hidden, 1, int(key[1]), int(key[1]))


def test_a_mobilenet_block_can_be_skipped_where_it_keeps_size_and_channels():
    options = Supernet.of(MobileNetV2(width=0.5)).options
    assert list(options) == [f"block{place}" for place in range(2, 18)]
    assert [name for name, keys in options.items() if "skip" in keys] == [
        f"block{place}" for place in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    ]


def test_skipped_blocks_are_gone():
    shallow = {**ResNet().published().decisions, **{f"layer{stage}.1": "skip" for stage in range(1, 5)}}
    whole = num_parameters(on_meta(ResNet().student))
    halved = num_parameters(on_meta(ResNet().student, Architecture("ResNet", shallow)))
    blocks = sum(2 * 9 * c * c + 4 * c for c in (64, 128, 256, 512))
    assert halved == whole - blocks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ResNet(depth=20), "depth must be one of"),
        (lambda: ResNet(last_stride=3), "last_stride must be one of 1, 2"),
        (lambda: ResNet(width=0.001), "width must leave a channel"),
        (lambda: MobileNetV2(width=0), "above 0"),
        (lambda: MobileNetV2(last_stride=4), "last_stride must be one of 1, 2"),
        (lambda: Cells(reductions=(9,)), "places from 1 to 8"),
        (lambda: Cells(cells=0), "at least 1"),
    ],
)
def test_impossible_constants_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_darts_networks_have_the_papers_counts():
    cifar = {"candidates": "darts", "stem": "cifar"}
    student = on_meta(Cells(channels=36, cells=20, reductions=(7, 14), **cifar).student, genotype(DARTS_V2))
    assert num_with_linear(student, 10) == 3_349_342
    supernet = on_meta(Supernet.of, Cells(channels=16, cells=8, reductions=(3, 6), **cifar))
    assert num_parameters(supernet) + (supernet.net.out_channels + 1) * 10 == 1_930_618
    assert sum(len(options) for options in supernet.options.values()) == 2 * 14 * 8


def test_the_kdas_networks_keep_their_counts():
    retrained = Cells(channels=64)
    assert retrained.published() == genotype(AUTO_REID)
    assert num_parameters(on_meta(retrained.student)) == 9_532_308
    searched = Supernet.of(Cells(channels=3))
    with torch.no_grad():
        searched.alpha.copy_(torch.arange(searched.alpha.numel()).sin().reshape(searched.alpha.shape))
    assert num_parameters(on_meta(retrained.student, derive(searched))) == 7_711_180


@pytest.mark.parametrize(
    ("space", "side", "millions", "billions"),
    [(ShallowCNN(), 128, 1.01, 0.41), (SDCCNN(), 128, 10.86, 9.18), (ResNet(last_stride=1), 256, 11.46, 3.98)],
    ids=repr,
)
def test_vrkds_students_have_the_papers_costs(space, side, millions, billions):
    """Its Table 1, which rounds SDC-CNN's to 9.2."""
    counted = cost(on_meta(ReID(backbone=space, embedding_dim=256, num_ids=576).student), side, side)
    assert round(counted.parameters / 1e6, 2) == millions
    assert round(counted.multiply_adds / 1e9, 2) == billions


def test_vrkd_counts_resnet_18_as_thop_does():
    """3.99 G in its Table 1 is not the 3.98 G of the products alone: thop adds what the normalisations do."""
    net = ReID(backbone=ResNet(last_stride=1), embedding_dim=256, num_ids=576).student()
    assert round(thop_cost(net, 256, 256).multiply_adds / 1e9, 2) == 3.99


@pytest.mark.parametrize(
    ("space", "parameters", "multiply_adds"),
    [(ShuffleNetV2(), 1_253_604, 93_965_056), (MobileNetV2(), 2_223_872, 195_588_096)],
    ids=repr,
)
def test_ksls_students_have_their_costs(space, parameters, multiply_adds):
    counted = cost(on_meta(space.student), 256, 128)
    assert (counted.parameters, counted.multiply_adds) == (parameters, multiply_adds)


def test_torchreids_mobilenet_expands_its_first_block():
    """2.225 M and 204.0 M are those of torchreid's network: a 1x1 convolution of 32 channels more than the authors'."""
    counted = cost(on_meta(MobileNetV2().student), 256, 128)
    assert round((counted.parameters + 32 * 32 + 2 * 32) / 1e6, 3) == 2.225
    assert round((counted.multiply_adds + 128 * 64 * 32 * 32) / 1e6, 1) == 204.0
