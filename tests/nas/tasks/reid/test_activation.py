"""Activation maps against Grad-CAM by its definition, and what is said without the package."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.augment import normalise
from nas.data.base import Split
from nas.data.cache import ImageCache
from nas.tasks.reid.activation import activation_maps, check_activation_maps, draw_activation_maps
from students.reid import ReIDNet
from tests.nas.report.test_thumbnails import Drawn


class Backbone(nn.Module):
    out_channels = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return {"map": self.conv(x).relu()}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ReIDNet(Backbone(), num_ids=3, embedding_dim=5).eval()


def test_the_map_is_the_weighted_sum_of_the_last_map(net, monkeypatch):
    cam = pytest.importorskip("pytorch_grad_cam.utils.image")
    laid_over = []
    monkeypatch.setattr(cam, "show_cam_on_image", lambda image, shown, use_rgb: laid_over.append(shown) or image)
    pixels, alike = torch.randint(256, (2, 3, 8, 6), dtype=torch.uint8), torch.randn(2, 5)
    activation_maps(net, pixels, alike)
    feature_map = net.backbone(normalise(pixels))["map"].detach().requires_grad_()
    similarity = torch.cosine_similarity(net.head({"map": feature_map}).feature, alike).sum()
    (gradient,) = torch.autograd.grad(similarity, feature_map)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * feature_map).sum(dim=1).relu().detach().numpy()
    for mine, theirs in zip(laid_over, expected, strict=True):
        theirs = theirs - theirs.min()
        np.testing.assert_allclose(mine, theirs / (theirs.max() + 1e-7), atol=1e-4)


def test_each_query_has_its_map_and_one_for_each_image_that_it_found(net, tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    (tmp_path / "thumbnails").mkdir()
    cache = ImageCache(Split(images=Drawn(), ids=np.arange(30)), 16, 8)
    features = SimpleNamespace(query=torch.randn(30, 5), gallery=torch.randn(30, 5))
    result = SimpleNamespace(nearest=np.array([[4, 5, -1]] * 30))
    draw_activation_maps(tmp_path, net, (cache, cache), features, result, np.array([7]))
    listed = json.loads((tmp_path / "thumbnails" / "maps.json").read_text())
    assert listed == {"7.png": [f"map-000007-0{rank}.jpg" for rank in range(3)]}
    assert all((tmp_path / "thumbnails" / file).exists() for file in listed["7.png"])
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_network_without_a_backbone_is_left_out(tmp_path):
    with pytest.warns(UserWarning, match="no activation maps were drawn: Linear has no map"):
        draw_activation_maps(tmp_path, nn.Linear(1, 1), None, None, None, np.array([0]))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("nas.tasks.reid.activation.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'nas-reid\[explain\]'"):
        check_activation_maps()
