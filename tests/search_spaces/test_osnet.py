"""OSNet's blocks against a forward pass written out by torchreid's names; its counts; what its answers change."""

import pytest
import torch
from torch.nn import functional as F

from nas.models.network import FeatureNet
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from search_spaces.osnet import LiteConv, OSNet
from students.reid import ReID

LENGTHS = {"a": 1, "b": 2, "c": 3, "d": 4}


def decided(space, **answers):
    """The student whose blocks all give the same `answers`, in the rest the published one."""
    decisions = dict(space.published().decisions)
    decisions |= {name: answers[name.split(".")[-1]] for name in decisions if name.split(".")[-1] in answers}
    return space.student(Architecture("OSNet", decisions))


def with_statistics(net):
    """In evaluation mode, with weights and running statistics that are not the initial ones."""
    rng = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=rng))
    return net.eval()


def normalised(state, name, x):
    return F.batch_norm(x, *(state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))


def convolved(state, name, x, **options):
    return normalised(state, f"{name}.bn", F.conv2d(x, state[f"{name}.conv.weight"], **options))


def naive_block(state, name, x):
    y = F.relu(convolved(state, f"{name}.conv1", x))
    total = 0
    for letter, length in LENGTHS.items():
        z = y
        for place in range(length):
            lite = f"{name}.conv2{letter}" + (f".{place}" if length > 1 else "")
            z = F.conv2d(z, state[f"{lite}.conv1.weight"])
            z = F.conv2d(z, state[f"{lite}.conv2.weight"], padding=1, groups=z.shape[1])
            z = F.relu(normalised(state, f"{lite}.bn", z))
        hidden = F.relu(
            F.conv2d(z.mean((2, 3), keepdim=True), state[f"{name}.gate.fc1.weight"], state[f"{name}.gate.fc1.bias"])
        )
        gate = F.conv2d(hidden, state[f"{name}.gate.fc2.weight"], state[f"{name}.gate.fc2.bias"])
        total = total + z * gate.sigmoid()
    y = convolved(state, f"{name}.conv3", total)
    return F.relu(y + (convolved(state, f"{name}.downsample", x) if x.shape[1] != y.shape[1] else x))


def naive_maps(state, x):
    x = F.max_pool2d(F.relu(convolved(state, "conv1", x, stride=2, padding=3)), 3, 2, 1)
    maps = {}
    for stage in ("conv2", "conv3", "conv4"):
        x = naive_block(state, f"{stage}.1", naive_block(state, f"{stage}.0", x))
        if stage != "conv4":
            x = F.avg_pool2d(F.relu(convolved(state, f"{stage}.2.0", x)), 2)
        maps[stage] = x
    return {**maps, "map": F.relu(convolved(state, "conv5", x))}


def test_the_published_network_is_the_papers_by_torchreids_names():
    net = with_statistics(OSNet(width=0.25).student()).double()
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    expected = naive_maps(net.state_dict(), images)
    maps = net(images)
    assert list(maps) == list(expected)
    for name in maps:
        torch.testing.assert_close(maps[name], expected[name])


def test_the_published_costs():
    with torch.device("meta"):
        net = ReID(backbone=OSNet(), num_ids=751, embedding_dim=512).student()
    counted = cost(FeatureNet(net), 256, 128)
    assert counted.parameters == 2_169_508
    assert round(counted.multiply_adds / 1e6, 1) == 978.9
    shared = sum(p.numel() for name, p in net.named_parameters() if ".gate." in name)
    assert counted.parameters + 3 * shared == 2_193_616  # as torchreid counts: a gate at each of its four calls


@pytest.mark.parametrize("num_streams", [1, 2, 3, 4])
def test_a_block_has_the_shorter_streams(num_streams):
    with torch.device("meta"):
        block = decided(OSNet(width=0.25), streams=str(num_streams)).conv3[1]
    lengths = {
        letter: sum(isinstance(m, LiteConv) for m in getattr(block, f"conv2{letter}").modules())
        for letter in LENGTHS
        if hasattr(block, f"conv2{letter}")
    }
    assert lengths == dict(list(LENGTHS.items())[:num_streams])


@pytest.mark.medium
def test_streams_that_are_left_out_cost_nothing():
    def multiply_adds(num_streams):
        with torch.device("meta"):
            return cost(decided(OSNet(width=0.25), streams=str(num_streams), gate="none"), 64, 32).multiply_adds

    lite = sum(2 * pixels * (c * c + 9 * c) for pixels, c in [(128, 16), (32, 24), (8, 32)])
    assert [multiply_adds(n + 1) - multiply_adds(n) for n in (1, 2, 3)] == [2 * lite, 3 * lite, 4 * lite]


def test_without_a_gate_the_streams_are_summed():
    torch.manual_seed(0)
    block = with_statistics(decided(OSNet(width=0.25), streams="2", gate="none")).conv3[1]
    x = torch.randn(2, 96, 4, 2)
    y = block.conv1(x)
    assert not any(name.startswith("gate") for name, _ in block.named_parameters())
    torch.testing.assert_close(block(x), F.relu(x + block.conv3(block.conv2a(y) + block.conv2b(y))))


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_instance_norm_stands_where_it_is_asked_for(where):
    torch.manual_seed(0)
    block = with_statistics(decided(OSNet(width=0.25), instance_norm=where)).conv3[1]
    x = torch.randn(2, 96, 8, 4)
    y = block.conv1(x)
    y = sum(block.gate(getattr(block, f"conv2{letter}")(y)) for letter in LENGTHS)
    if where == "inside":
        conv, norm = block.conv3.body
        expected = x + F.instance_norm(conv(y), weight=norm.weight, bias=norm.bias)
    else:
        norm = block.IN.body
        expected = F.instance_norm(x + block.conv3(y), weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(block(x), F.relu(expected))
    assert sum(isinstance(m, torch.nn.InstanceNorm2d) for m in block.modules()) == 1
