"""Networks that other projects have trained stay as they are, and learn other identities: files in their layouts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nas.losses.labels import LabelLoss
from nas.training.build import build_network
from nas.training.machine import Machine
from nas.training.optimisers import Adam
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import learning, train, train_mode
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from students.person_search import PersonSearch
from students.reid import ReID

RESNET = ReID(backbone=ResNet(width=1 / 16), embedding_dim=None)
OS = ReID(backbone=OSNet(width=1 / 8), embedding_dim=12)
IDS = (3, 5, 8)


def random(space, num_ids=7):
    """A network of other identities, whose running statistics are not those of the beginning."""
    torch.manual_seed(1)
    net = space.with_ids(num_ids).student()
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return net.eval()


def fast_reid(net, neck="heads.bottleneck.0.", classifier="heads.weight"):
    head = {neck + name: tensor for name, tensor in net.neck.state_dict().items()}
    body = {f"backbone.{name}": tensor for name, tensor in net.backbone.state_dict().items()}
    pixels = {"pixel_mean": torch.ones(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1)}
    return {"model": {**body, **head, classifier: net.classifier.weight, **pixels}, "iteration": 5}


def early_fast_reid(net):
    return fast_reid(net, "heads.bnneck.", "heads.classifier.weight")


def strong_baseline(net):
    neck = {f"bottleneck.{name}": tensor for name, tensor in net.neck.state_dict().items()}
    body = {f"base.{name}": tensor for name, tensor in net.backbone.state_dict().items()}
    return {**body, **neck, "classifier.weight": net.classifier.weight}


def torchreid(net):
    fc = {f"fc.0.{name}": tensor for name, tensor in net.embedding.state_dict().items()}
    fc |= {f"fc.1.{name}": tensor for name, tensor in net.neck.state_dict().items()}
    last = {"classifier.weight": torch.ones(7, 12), "classifier.bias": torch.ones(7)}
    state = {f"module.{name}": tensor for name, tensor in {**net.backbone.state_dict(), **fc, **last}.items()}
    return {"state_dict": state, "epoch": 60, "rank1": 0.9}


def ours(net):
    return net.state_dict()


LAYOUTS = {
    "fast-reid": (fast_reid, RESNET),
    "early fast-reid": (early_fast_reid, RESNET),
    "strong baseline": (strong_baseline, RESNET),
    "torchreid": (torchreid, OS),
    "ours": (ours, OS),
}


@pytest.fixture(params=LAYOUTS)
def file(request, tmp_path):
    """A file in a layout, its network and its space."""
    layout, space = LAYOUTS[request.param]
    net = random(space)
    torch.save(layout(net), tmp_path / "theirs.pth")
    return str(tmp_path / "theirs.pth"), net, space


def frozen(path, space, **how):
    training = Training(pretrained=path, frozen=True, epochs=1, optimiser=Adam(lr=0.1), **how)
    return build_network(space.with_ids(len(IDS)), None, IDS, training, 0).net, training


def test_other_identities_are_learnt_behind_the_features_of_a_file(file, tmp_path, capsys):
    path, theirs, space = file
    net, training = frozen(path, space)
    assert "behind the backbone it has" in capsys.readouterr().err
    images = torch.randn(6, 3, 32, 16)
    assert torch.equal(net.eval()(images).feature, theirs(images).feature)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    batch = SimpleNamespace(images=images, labels=torch.tensor([0, 0, 1, 1, 2, 2]), teacher=None)
    stage = Stage(tmp_path, "teach", "", Machine(device="cpu"), quiet=True)
    train(net, Batches([batch] * 3), LabelLoss(), training, stage)
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"classifier.weight"}
    assert torch.equal(net.eval()(images).feature, theirs(images).feature)


def test_what_the_file_lacks_is_trained(tmp_path):
    theirs = random(RESNET)
    torch.save(theirs.backbone.state_dict(), tmp_path / "torchvision.pth")
    net, _ = frozen(str(tmp_path / "torchvision.pth"), replace(RESNET, embedding_dim=5))
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {"embedding.weight", "embedding.bias", "neck.weight", "neck.bias", "classifier.weight"}


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_other_pooling_is_refused(tmp_path, power):
    state = fast_reid(random(RESNET))
    state["model"]["heads.pool_layer.p"] = torch.tensor([power])
    torch.save(state, tmp_path / "gem.pth")
    if power == 1:
        frozen(str(tmp_path / "gem.pth"), RESNET)
        return
    with pytest.raises(ValueError, match=r"gem\.pth is of a network that pools by generalised means \(power 3\)"):
        frozen(str(tmp_path / "gem.pth"), RESNET)


def test_not_frozen_means_as_before(file):
    """The backbone alone is taken, and all of it is trained."""
    path, theirs, space = file
    net = build_network(space.with_ids(len(IDS)), None, IDS, Training(pretrained=path), 0).net
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.backbone.parameters(), theirs.backbone.parameters(), strict=True))
    assert not torch.equal(net.neck.running_var, theirs.neck.running_var)


def test_nothing_to_freeze_is_refused(tmp_path):
    with pytest.raises(ValueError, match="frozen keeps the weights of `pretrained`"):
        Training(frozen=True)
    assert not Training(pretrained="imagenet", frozen=True).from_scratch().frozen
    space = PersonSearch(backbone=ResNet(width=1 / 16), embedding_dim=8)
    torch.save(space.with_ids(3).student().backbone.state_dict(), tmp_path / "detector.pth")
    with pytest.raises(ValueError, match="frozen is for networks of one embedding and one classifier"):
        frozen(str(tmp_path / "detector.pth"), space)


class Batches(list):
    def __call__(self, epoch, start=0):
        return iter(self[start:])


def test_a_part_without_parameters_follows_the_part_around_it():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    net[0].requires_grad_(False)
    train_mode(net)
    assert [part.training for part in net.modules()] == [True, False, False, False, True, True, True]
    assert [parameter.shape for parameter in learning(net)] == [(2, 2), (2,)]
