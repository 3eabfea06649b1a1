"""Torchvision's weights go by name into our networks, and what fits of them into other architectures."""

import re
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from nas.models.pretrained import IMAGENET, load_pretrained, read_checkpoint
from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2


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


def test_a_checkpoint_is_unwrapped(tmp_path):
    torch.manual_seed(0)
    space = OSNet(width=1 / 8)
    weights = space.student().state_dict()
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}
        | {"module.fc.0.weight": torch.ones(2), "module.classifier.bias": torch.ones(2)},
    }
    torch.save(wrapped, tmp_path / "osnet.pth.tar")
    net = space.student()
    assert load_pretrained(net, space, str(tmp_path / "osnet.pth.tar")).left == ()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


def test_a_checkpoint_that_is_no_state_dict_is_named(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth must hold tensors by name .*, not a list"):
        read_checkpoint(tmp_path / "list.pth")


class TestDerived:
    SPACE = MobileNetV2(width=0.25)

    @pytest.fixture
    def architecture(self):
        """Another kernel in one block, another expansion in a second, and a third block left out."""
        changes = {"block2": "k5e6", "block4": "k3e3", "block6": "skip"}
        return Architecture("MobileNetV2", {**self.SPACE.published().decisions, **changes})

    @pytest.fixture
    def weights(self, tmp_path):
        torch.manual_seed(1)
        path = tmp_path / "published.pth"
        torch.save(self.SPACE.student().state_dict(), path)
        return path

    def test_what_fits_is_inherited_and_the_rest_is_as_it_was(self, architecture, weights, capsys):
        file = torch.load(weights, weights_only=True)
        torch.manual_seed(0)
        net = self.SPACE.student(architecture)
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        drawn = torch.random.get_rng_state()
        inherited = load_pretrained(net, self.SPACE, str(weights))
        assert torch.equal(torch.random.get_rng_state(), drawn)
        after = net.state_dict()
        assert all(torch.equal(after[name], file[name]) for name in inherited.taken)
        assert all(torch.equal(after[name], before[name]) for name in inherited.left)
        names = {name for name in after if not name.endswith("num_batches_tracked")}
        assert sorted(inherited.taken + inherited.left) == sorted(names)
        norms = [
            f"features.4.conv.{place}.1.{part}"
            for place in (0, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
        assert set(inherited.left) == {
            "features.2.conv.1.0.weight",
            "features.4.conv.0.0.weight",
            *norms,
            "features.4.conv.1.0.weight",
            "features.4.conv.2.weight",
        }
        said = capsys.readouterr().err
        assert said.startswith(f"nas: {str(weights)!r} is of the published MobileNetV2 x0.25: {len(inherited.taken)} ")
        assert said.endswith(
            "12 start at random: features.2.conv.1.0.weight, features.4.conv.0.0.weight, "
            "features.4.conv.0.1.weight and 9 more\n"
        )

    def test_its_own_checkpoint_is_taken_whole(self, architecture, tmp_path, capsys):
        trained = self.SPACE.student(architecture)
        torch.save(trained.state_dict(), tmp_path / "derived.pth")
        net = self.SPACE.student(architecture)
        assert load_pretrained(net, self.SPACE, str(tmp_path / "derived.pth")).left == ()
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), trained.parameters(), strict=True))
        assert capsys.readouterr().err == ""

    def test_weights_of_another_network_are_refused(self, architecture, tmp_path, theirs):
        net = self.SPACE.student(architecture)
        with pytest.raises(ValueError, match="has a tensor 'bn1.bias', which the network does not have"):
            load_pretrained(net, self.SPACE, str(written(theirs, tmp_path / "resnet.pth")))


class TestImageNet:
    def test_without_a_network_the_file_and_its_place_are_named(self, monkeypatch, tmp_path):
        def offline(*_, **__):
            raise URLError("Name or service not known")

        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        with pytest.raises(
            ValueError,
            match=r"Name or service.*fetch https://.*resnet50.*\.pth on another machine "
            rf"and put it into {tmp_path}/checkpoints",
        ):
            load_pretrained(ResNet(depth=50).student(), ResNet(depth=50), "imagenet")

    def test_a_file_that_lies_there_is_taken(self, monkeypatch, tmp_path, theirs):
        url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
        monkeypatch.setattr(
            torchvision.models._api,
            "load_state_dict_from_url",
            lambda asked, *_, **__: theirs.state_dict() if asked == url else None,
        )
        net = SPACE.student()
        load_pretrained(net, SPACE, "imagenet")
        assert torch.equal(net.state_dict()["layer4.1.conv2.weight"], theirs.layer4[1].conv2.weight)

    @pytest.mark.parametrize("space", [Cells(channels=2), ResNet(width=0.5), MobileNetV2(width=0.75)])
    def test_networks_that_nobody_trained_are_refused(self, space):
        with pytest.raises(ValueError, match="there are no ImageNet weights for .*leave `pretrained` empty"):
            load_pretrained(space.student(), space, "imagenet")

    @pytest.mark.parametrize(
        ("space", "torchvisions"),
        [
            (DenseNet(last_stride=1), torchvision.models.densenet121),
            (ShuffleNetV2(last_stride=1), torchvision.models.shufflenet_v2_x1_0),
        ],
        ids=["densenet", "shufflenet"],
    )
    def test_old_names_and_another_last_stride(self, monkeypatch, space, torchvisions):
        torch.manual_seed(0)
        state = torchvisions().state_dict()
        old = {
            re.sub(r"(denselayer.*(?:norm|conv))([12])", r"\1.\2", name): tensor
            for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")
        }
        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: old)
        net = space.student()
        assert load_pretrained(net, space, "imagenet").left == ()
        assert all(torch.equal(parameter, state[name]) for name, parameter in net.named_parameters())

    def test_every_file_is_of_the_network_it_stands_for(self):
        for space, weights in IMAGENET.items():
            with torch.device("meta"):
                net = space.student()
            classes = len(weights.meta["categories"])
            head = (net.out_channels + 1) * classes
            assert sum(p.numel() for p in net.parameters()) + head == weights.meta["num_params"]
