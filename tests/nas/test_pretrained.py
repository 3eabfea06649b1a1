"""Torchvision's weights go by name into our networks."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from nas.pretrained import load_pretrained, read_checkpoint
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from search_spaces.cell import Cells


@pytest.fixture(scope="module")
def theirs():
    """Torchvision's ResNet-18 with random weights and running statistics."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    net(torch.randn(4, 3, 64, 32))
    return net.eval()


SPACE = ResNet(depth=18)


def written(theirs, path, dtype=torch.float32):
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in theirs.state_dict().items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["resnet.pth", "resnet.safetensors"])
def test_a_checkpoint_gives_torchvisions_own_maps(tmp_path, theirs, name):
    net = SPACE.student()
    load_pretrained(net, SPACE, str(written(theirs, tmp_path / name)))
    x = torch.randn(2, 3, 64, 32)
    maps = torch.nn.Sequential(*list(theirs.children())[:-2])(x)
    assert torch.equal(net.eval()(x)["map"], maps)


@pytest.mark.parametrize("name", ["half.pth", "half.safetensors"])
def test_half_precision_is_widened(tmp_path, theirs, name):
    net = SPACE.student()
    load_pretrained(net, SPACE, str(written(theirs, tmp_path / name, torch.float16)))
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert torch.equal(net.state_dict()["conv1.weight"], theirs.conv1.weight.half().float())


def test_old_checkpoints_without_counters_will_do(tmp_path, theirs):
    state = {name: t for name, t in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    net = SPACE.student()
    load_pretrained(net, SPACE, str(tmp_path / "old.pth"))
    assert torch.equal(net.state_dict()["bn1.running_var"], theirs.bn1.running_var)


def test_the_first_tensor_that_differs_is_named(tmp_path, theirs):
    path = str(written(theirs, tmp_path / "resnet.pth"))
    with pytest.raises(ValueError, match=r"the pretrained file .*resnet\.pth.* tensor 'layer1\.0\.bn3\.bias'"):
        load_pretrained(ResNet(depth=50).student(), ResNet(depth=50), path)
    with pytest.raises(ValueError, match=r"'bn1\.bias' has shape \(64,\), the network's has \(32,\)"):
        load_pretrained(ResNet(width=0.5).student(), ResNet(width=0.5), path)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"pretrained weights .*none\.pth do not exist: give the path"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "page.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"page\.pth is damaged"):
        read_checkpoint(tmp_path / "page.pth")


class TestImageNet:
    def test_without_a_network_the_file_and_its_place_are_named(self, monkeypatch, tmp_path):
        def offline(*_, **__):
            raise URLError("Name or service not known")

        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        with pytest.raises(ValueError, match=r"Name or service.*fetch https://.*resnet50.*\.pth on another machine "
                                             rf"and put it into {tmp_path}/checkpoints"):
            load_pretrained(ResNet(depth=50).student(), ResNet(depth=50), "imagenet")

    def test_a_file_that_lies_there_is_taken(self, monkeypatch, tmp_path, theirs):
        url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url",
                            lambda asked, *_, **__: theirs.state_dict() if asked == url else None)
        net = SPACE.student()
        load_pretrained(net, SPACE, "imagenet")
        assert torch.equal(net.state_dict()["layer4.1.conv2.weight"], theirs.layer4[1].conv2.weight)

    @pytest.mark.parametrize("space", [Cells(channels=2), ResNet(width=0.5), MobileNetV2(width=0.75)])
    def test_networks_that_nobody_trained_are_refused(self, space):
        with pytest.raises(ValueError, match="there are no ImageNet weights for .*leave `pretrained` empty"):
            load_pretrained(space.student(), space, "imagenet")
