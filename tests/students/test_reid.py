"""The re-ID head around any backbone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.system.config import decode, encode, fingerprint
from search_spaces.cell import Cells
from search_spaces.deploy import deploy
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from students.reid import ReID

BACKBONES = {
    "cells": Cells(channels=2, cells=2, reductions=(2,)),
    "mobilenet": MobileNetV2(width=0.1),
    "resnet": ResNet(width=1 / 16),
}


@pytest.mark.parametrize("embedding_dim", [None, 7])
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_output_has_a_row_for_each_image(backbone, embedding_dim):
    net = ReID(backbone=backbone, num_ids=5, embedding_dim=embedding_dim).student()
    out = net(torch.randn(4, 3, 64, 32))
    dim = embedding_dim or net.backbone.out_channels
    assert [tuple(t.shape) for t in (out.logits, out.embedding, out.feature)] == [(4, 5), (4, dim), (4, dim)]
    assert out.branches == () and net.out_channels == dim
    assert out.maps.keys() >= {"map"} and out.maps["map"].shape[:2] == (4, net.backbone.out_channels)


def test_without_an_embedding_the_feature_is_the_pooled_map():
    torch.manual_seed(0)
    net = ReID(backbone=BACKBONES["resnet"], num_ids=5, embedding_dim=None).student().eval()
    x = torch.randn(2, 3, 64, 32)
    pooled = torch.stack([m.flatten(1).mean(dim=1) for m in net.backbone(x)["map"]])
    assert torch.allclose(net(x).embedding, pooled, atol=1e-6) and isinstance(net.embedding, nn.Identity)


def test_retrieval_feature_is_behind_the_neck_and_feeds_the_classifier():
    net = ReID(backbone=BACKBONES["resnet"], num_ids=5, embedding_dim=6).student()
    out = net(torch.randn(16, 3, 64, 32))
    assert torch.allclose(out.feature.mean(dim=0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(out.feature.var(dim=0, correction=0), torch.ones(6), atol=1e-2)
    assert torch.allclose(out.logits, out.feature @ net.classifier.weight.T) and net.classifier.bias is None
    assert not torch.allclose(out.embedding, out.feature, atol=1e-2)


def test_without_a_neck_losses_and_retrieval_take_the_same_feature():
    space = ReID(backbone=BACKBONES["resnet"], num_ids=5, embedding_dim=6, neck=False)
    net = space.student()
    out = net(torch.randn(16, 3, 64, 32))
    assert torch.equal(out.feature, out.embedding) and isinstance(net.neck, nn.Identity)
    assert torch.allclose(out.logits, out.feature @ net.classifier.weight.T + net.classifier.bias)
    assert decode(encode(space), ReID) == space
    assert fingerprint(replace(space, neck=True)) == fingerprint(
        ReID(backbone=space.backbone, num_ids=5, embedding_dim=6)
    )
    assert fingerprint(space) != fingerprint(replace(space, neck=True))
    net.eval()
    images = torch.randn(2, 3, 64, 32)
    assert torch.allclose(deploy(net, images)(images).feature, net(images).feature, atol=1e-5)


class TestNumberOfIdentities:
    space = ReID(backbone=BACKBONES["resnet"])

    def test_is_filled_in_from_the_data(self):
        assert self.space.with_ids(9).student().classifier.out_features == 9
        assert self.space.with_ids(9).with_ids(9) == self.space.with_ids(9)

    def test_a_network_for_another_number_is_refused(self):
        with pytest.raises(ValueError, match="the network is for 9 identities, the data set has 7: leave num_ids out"):
            self.space.with_ids(9).with_ids(7)

    def test_is_needed_to_build(self):
        with pytest.raises(ValueError, match="num_ids must be the number of training identities"):
            ReID(backbone=BACKBONES["resnet"]).student()


def test_decisions_are_the_backbones():
    space = ReID(backbone=BACKBONES["cells"], num_ids=2)
    inner = BACKBONES["cells"].published()
    assert space.published().decisions == {f"backbone.{name}": answer for name, answer in inner.decisions.items()}
    assert space.title == BACKBONES["cells"].title
    supernet = Supernet.of(space)
    assert supernet(torch.randn(2, 3, 64, 32)).logits.shape == (2, 2)
