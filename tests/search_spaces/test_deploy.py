"""The deployed form says what the network says."""

import pytest
import torch
import torchvision
from torch import nn

from nas.models.network import FeatureNet
from search_spaces.cell import Cells
from search_spaces.deploy import FixedPartAware, deploy
from search_spaces.ops import PartAware, part_aware
from students.reid import ReID
from tests.search_spaces.test_contract import SPACES

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def unlike_new(net):
    """Norms that have seen something, so that folding them wrongly shows."""
    rng = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, NORMS):
            module.running_mean.normal_(0, 0.3, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
            if module.weight is not None:
                module.weight.data.uniform_(0.5, 1.5, generator=rng)
                module.bias.data.normal_(0, 0.3, generator=rng)
    return net.eval()


def norms_of(net):
    return [module for module in net.modules() if isinstance(module, NORMS)]


def check(net, images):
    deployed = deploy(net, images)
    with torch.no_grad():
        expected, found = net(images), deployed(images)
    assert torch.allclose(expected, found, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    assert not deployed.training and not any(weights.requires_grad for weights in deployed.parameters())
    return deployed


@pytest.mark.parametrize("name", sorted(SPACES.keys() - {"person_search"}))  # which answers with boxes
def test_every_space(name):
    net = unlike_new(FeatureNet(ReID(backbone=SPACES[name], num_ids=3, embedding_dim=8).student()))
    images = torch.randn(2, 3, 67, 37)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    check(net, images)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("backbone", [Cells(channels=8, cells=3, reductions=(2, 3)), SPACES["resnet18"]], ids=repr)
def test_no_norm_is_left_where_each_is_behind_a_layer(backbone):
    net = unlike_new(FeatureNet(ReID(backbone=backbone, num_ids=3, embedding_dim=8).student()))
    deployed = check(net, torch.randn(2, 3, 64, 32))
    assert norms_of(net) and not norms_of(deployed)
    assert not any(isinstance(module, PartAware) for module in deployed.modules())


@pytest.mark.parametrize("size", [(8, 6), (9, 5), (3, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_part_aware_of_any_size(stride, size):
    net = unlike_new(part_aware(6, stride, affine=True))
    deployed = check(net, torch.randn(2, 6, *size))
    assert isinstance(deployed.body, FixedPartAware) and not norms_of(deployed)


class Peeking(nn.Module):
    """Somebody else reads what the first layer gives; the second layer runs twice, the third's norm does."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x):
        y = self.first(x)
        x = self.norms[0](y) + y
        x = self.norms[1](self.second(self.second(x)))
        x = self.norms[2](self.norms[2](self.third(x)))
        return self.norms[3](self.last(x))


def test_norms_stay_where_the_layer_is_read_by_others_too():
    deployed = check(unlike_new(Peeking()), torch.randn(2, 3, 5, 4))
    assert [isinstance(norm, nn.Identity) for norm in deployed.norms] == [False, False, False, True]


def test_what_answers_with_other_than_a_tensor_stays_as_it_is():
    net = unlike_new(ReID(backbone=SPACES["resnet18"], num_ids=3, embedding_dim=8).student())
    assert len(norms_of(deploy(net, torch.randn(2, 3, 32, 16)))) == len(norms_of(net))


@pytest.mark.medium
def test_networks_of_a_library():
    net = unlike_new(torchvision.models.mobilenet_v3_small())
    assert len(norms_of(check(net, torch.randn(2, 3, 64, 32)))) < len(norms_of(net)) / 10
