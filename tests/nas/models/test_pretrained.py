"""Torchvision's weights go by name into our networks, and what fits of them into other architectures."""

import argparse
import os
import pickle
import re
from functools import partial
from pathlib import Path
from urllib.error import URLError
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from nas.models.pretrained import IMAGENET, load_pretrained, read_checkpoint
from nas.system.weights import load_state
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


@pytest.mark.medium
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


@pytest.mark.medium
def test_the_first_tensor_that_differs_is_named(tmp_path, theirs):
    path = str(written(theirs, tmp_path / "resnet.pth"))
    with pytest.raises(ValueError, match=r"the pretrained file .*resnet\.pth.* tensor 'layer1\.0\.bn3\.bias'"):
        load_pretrained(ResNet(depth=50).student(), ResNet(depth=50), path)
    with pytest.raises(ValueError, match=r"'bn1\.bias' has shape \(64,\), the network's has \(32,\)"):
        load_pretrained(ResNet(width=0.5).student(), ResNet(width=0.5), path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"pretrained weights .*none\.pth does not exist: give the path"):
        read_checkpoint(tmp_path / "none.pth")


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


def odd(path, state, **how):
    torch.save(state, path, **how)
    return path


class TestOtherTrainers:
    """What trainers put around a state dict, and into the names."""

    WEIGHTS = {"conv1.weight": torch.ones(2, 3), "bn1.bias": torch.zeros(2)}

    def named(self, prefix):
        return {prefix + name: tensor for name, tensor in self.WEIGHTS.items()}

    def check(self, path):
        found = read_checkpoint(path)
        assert found.keys() == self.WEIGHTS.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in self.WEIGHTS.items())

    @pytest.mark.parametrize(
        "prefix",
        [
            *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "model."),
            *("model._orig_mod.", "module.model.module.", "_orig_mod._orig_mod.", "_fsdp_wrapped_module.", ""),
        ],
    )
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_prefixes_are_taken_off_as_often_as_they_are_there(self, tmp_path, prefix, suffix):
        path = tmp_path / f"w.{suffix}"
        save_file(self.named(prefix), path) if suffix == "safetensors" else torch.save(self.named(prefix), path)
        self.check(path)

    def test_a_part_may_be_compiled(self, tmp_path):
        state = {"layer1._orig_mod.0.weight": torch.ones(1)}
        assert [*read_checkpoint(odd(tmp_path / "w.pth", state))] == ["layer1.0.weight"]

    def test_beside_lightnings_network_stand_losses(self, tmp_path):
        self.check(odd(tmp_path / "w.ckpt", {"state_dict": self.named("model.") | {"loss.centers": torch.ones(5)}}))

    @pytest.mark.parametrize("key", ["net", "network", "state_dict_ema", "model_state", "params", "teacher", "weights"])
    def test_weights_under_any_key(self, tmp_path, key):
        sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], momentum=0.9)
        sgd.param_groups[0]["params"][0].grad = torch.ones(2)
        sgd.step()
        beside = {"epoch": torch.tensor(3), "optimizer": sgd.state_dict(), "best": {"mAP": torch.tensor(0.5)}}
        self.check(odd(tmp_path / "w.pth", {**beside, key: self.named("module.")}))
        self.check(odd(tmp_path / "deep.pth", {"checkpoint": {**beside, key: self.named("")}}))
        self.check(odd(tmp_path / "wrapped.pth", {"model": {**beside, key: self.named("")}}))

    def test_the_mean_of_several_states_has_a_counter_beside_it(self, tmp_path):
        self.check(odd(tmp_path / "swa.pth", self.named("module.") | {"n_averaged": torch.tensor(3)}))

    @pytest.mark.parametrize("prefix", ["backbone.", "model.module.backbone.", "encoder.net."])
    def test_a_backbone_inside_another_network_is_found(self, tmp_path, capsys, prefix):
        space = OSNet(width=1 / 8)
        weights, net = space.student().state_dict(), space.student()
        state = {prefix + name: tensor for name, tensor in weights.items()} | {
            f"{prefix[:6]}neck.weight": torch.ones(3)
        }
        load_pretrained(net, space, str(odd(tmp_path / "w.pth", state)))
        assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())
        assert (
            f"w.pth': {len(weights)} tensors behind '{prefix.removeprefix('model.module.')}'" in capsys.readouterr().err
        )

    @pytest.mark.medium
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t * torch.nan, "must hold finite numbers"),
            (lambda t: t / 0, "must hold finite numbers"),
            (lambda t: t.int(), "must hold plain real numbers, not torch.int32"),
            (lambda t: t > 0, "must hold plain real numbers, not torch.bool"),
            (lambda t: t.cfloat(), "must hold plain real numbers, not torch.complex64"),
            (lambda t: t.to_sparse(), "must hold plain real numbers, not torch.float32 .torch.sparse"),
            (lambda t: t.to("meta"), "must hold plain real numbers"),
        ],
    )
    def test_a_tensor_that_holds_no_finite_real_numbers_is_named(self, tmp_path, change, message):
        space = OSNet(width=1 / 8)
        state = space.student().state_dict()
        name = next(name for name in state if name.endswith("conv.weight"))
        with pytest.raises(ValueError, match=rf"w\.pth.*{name}.*{message}"):
            load_pretrained(space.student(), space, str(odd(tmp_path / "w.pth", state | {name: change(state[name])})))

    def test_long_lists_and_names_are_cut(self, tmp_path):
        state = {f"{i}{'k' * 10_000}": {"w": torch.ones(2, 2)} for i in range(2000)}
        with pytest.raises(ValueError, match=r"and 1,990 more") as error:
            read_checkpoint(odd(tmp_path / "w.pth", state))
        assert len(str(error.value)) < 2000

    @pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_what_is_no_file_is_told_and_not_waited_for(self, tmp_path, kind, suffix):
        path = tmp_path / f"w.{suffix}"
        {"folder": path.mkdir, "pipe": partial(os.mkfifo, path), "device": partial(path.symlink_to, "/dev/zero")}[
            kind
        ]()
        with pytest.raises(ValueError, match=rf"w\.{suffix} (cannot be read: Is a directory|is no file, but a pipe)"):
            read_checkpoint(path)

    def test_few_bytes_that_stand_for_many_are_refused(self, tmp_path):
        with (
            ZipFile(odd(tmp_path / "w.pth", {"w": torch.zeros(2**20)})) as plain,
            ZipFile(tmp_path / "bomb.pth", "w", ZIP_DEFLATED) as packed,
        ):
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
        with pytest.raises(ValueError, match=r"bomb\.pth must not be packed"):
            read_checkpoint(tmp_path / "bomb.pth")

    def test_of_several_networks_the_keys_are_listed(self, tmp_path):
        path = odd(tmp_path / "gan.pth", {"generator": self.named(""), "critic": self.named("")})
        with pytest.raises(ValueError, match=r"gan\.pth must hold the weights of one .*'generator', 'critic'"):
            read_checkpoint(path)

    @pytest.mark.parametrize("state", [{"epoch": 3, "args": {"lr": 0.1}}, {"epoch": 3, "args": {"lr": {0: 1}}}])
    def test_without_tensors_the_keys_are_listed(self, tmp_path, state):
        with pytest.raises(ValueError, match=r"none\.pth must hold tensors by name .*'epoch', 'args'"):
            read_checkpoint(odd(tmp_path / "none.pth", state))
        with pytest.raises(ValueError, match="holds nothing"):
            read_checkpoint(odd(tmp_path / "none.pth", {}))

    def test_two_tensors_of_one_name_are_listed(self, tmp_path):
        path = odd(tmp_path / "two.pth", self.named("module.") | self.named(""))
        with pytest.raises(ValueError, match=r"two\.pth must hold one tensor 'conv1.weight', and has 'module.conv1"):
            read_checkpoint(path)

    @pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.float16(1), np.int64(3), np.bool_(True)])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_numpys_numbers_may_stand_beside_the_weights(self, tmp_path, number, zipped):
        state = {"state_dict": self.WEIGHTS, "rank1": number}
        path = odd(tmp_path / "w.pth.tar", state, _use_new_zipfile_serialization=zipped)
        self.check(path)
        assert load_state(path)["rank1"] == number

    def test_of_numpy_1_too(self, tmp_path):
        state = {"state_dict": self.WEIGHTS, "rank1": np.float64(0.5)}
        path = odd(tmp_path / "w.pth.tar", state, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        self.check(path)

    @pytest.mark.parametrize(
        ("thing", "name"),
        [
            (argparse.Namespace(lr=1), "argparse.Namespace"),
            (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
            (np.ones(2), "multiarray._reconstruct"),
            (Path("x"), "pathlib."),
        ],
        ids=["namespace", "module", "array", "path"],
    )
    def test_a_class_in_the_way_is_named_without_torchs_advice(self, tmp_path, thing, name):
        with pytest.raises(ValueError, match=rf"w\.pth must hold tensors .*{re.escape(name)}.*state_dict") as error:
            read_checkpoint(odd(tmp_path / "w.pth", {"state_dict": self.WEIGHTS, "thing": thing}))
        said = str(error.value)
        assert "weights_only" not in said and said.isprintable()

    @pytest.mark.parametrize(
        "content", [b"", b"<html>404</html>", pickle.dumps({"a": 1}, protocol=4), b"PK\x03\x04" * 9]
    )
    def test_what_is_no_checkpoint_is_one_plain_line(self, tmp_path, content):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.pth is damaged, or no checkpoint that torch wrote") as error:
            read_checkpoint(tmp_path / "w.pth")
        assert str(error.value).isprintable()

    def test_a_tensor_may_claim_what_it_does_not_hold(self, tmp_path):
        net = SPACE.student()
        huge = torch.zeros(1, dtype=torch.float16).expand(10**13)
        torch.save({**net.state_dict(), "conv1.weight": huge}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"conv1.weight' has shape \(10000000000000,\)"):
            load_pretrained(net, SPACE, str(tmp_path / "w.pth"))
        sparse = net.state_dict()["conv1.weight"].to_sparse()
        torch.save({**net.state_dict(), "conv1.weight": sparse}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"'conv1.weight' must hold plain real numbers"):
            load_pretrained(net, SPACE, str(tmp_path / "w.pth"))


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
