"""Networks of others as feature networks: what they give is what their libraries compute before the last layer."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.models.library import Renormalised, classifier_features, is_classifier, load_checkpoint
from nas.models.onnx import OnnxNet

IMAGES = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, num_classes=5).eval()


class TestClassifiers:
    @pytest.mark.medium
    @pytest.mark.parametrize(
        ("name", "last"),
        [
            ("resnet18", "fc"),
            ("mobilenet_v2", "classifier.1"),
            ("shufflenet_v2_x1_0", "fc"),
            ("mnasnet0_5", "classifier.1"),
        ],
    )
    def test_features_are_the_input_of_the_last_layer(self, tmp_path, name, last):
        theirs = made(name)
        torch.save(theirs.state_dict(), tmp_path / "weights.pth")
        seen = []
        theirs.get_submodule(last).register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
        theirs(IMAGES)
        assert torch.equal(classifier_features(name, str(tmp_path / "weights.pth"))(IMAGES), seen[0])

    def test_a_library_may_be_named(self):
        assert classifier_features("torchvision:resnet18")(IMAGES).shape == (3, 512)

    def test_timms_own_normalisation_is_applied(self):
        torch.manual_seed(0)
        net = classifier_features("timm:test_vit")
        torch.manual_seed(0)
        theirs = timm.create_model("test_vit", num_classes=0).eval()
        assert theirs.default_cfg["mean"] == (0.5, 0.5, 0.5)
        pixels = torch.rand(2, 3, 160, 160)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        torch.testing.assert_close(net((pixels - mean) / std), theirs((pixels - 0.5) / 0.5), rtol=1e-4, atol=1e-5)
        assert isinstance(net, Renormalised)

    def test_unknown_names(self):
        with pytest.raises(ValueError, match=r"no classifier 'resnet19' .did you mean .*resnet18"):
            classifier_features("torchvision:resnet19")
        with pytest.raises(ValueError, match="timm has no model 'resnet18x' .did you mean"):
            classifier_features("timm:resnet18x")
        with pytest.raises(ValueError, match="there is no library 'keras'"):
            classifier_features("keras:resnet18")
        assert is_classifier("resnet18") and is_classifier("keras:x") and not is_classifier("demo")

    def test_weights_that_cannot_be_downloaded(self, monkeypatch):
        def closed(*_, **__):
            raise OSError("no network")

        monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", closed)
        with pytest.raises(ValueError, match=r"could not download .*fetch https://.*resnet18.*--weights"):
            classifier_features("resnet18", "imagenet")


class TestCheckpoints:
    @pytest.mark.medium
    @pytest.mark.parametrize("wrapped", ["plain", "state_dict", "model", "parallel"])
    def test_wrappings_are_taken_off(self, tmp_path, wrapped):
        theirs = made("resnet18")
        state = theirs.state_dict()
        if wrapped == "parallel":
            state = {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
        elif wrapped != "plain":
            state = {wrapped: state}
        torch.save(state, tmp_path / "weights.pth")
        net = classifier_features("resnet18", str(tmp_path / "weights.pth"))
        assert torch.equal(net.conv1.weight, theirs.conv1.weight)

    def test_of_another_architecture_the_first_tensor_is_named(self, tmp_path):
        torch.save(made("resnet34").state_dict(), tmp_path / "weights.pth")
        with pytest.raises(ValueError, match=r"weights.pth has a tensor 'layer1.2.bn1.bias'"):
            classifier_features("resnet18", str(tmp_path / "weights.pth"))
        with pytest.raises(ValueError, match="nowhere.pth does not exist"):
            load_checkpoint(made("resnet18"), tmp_path / "nowhere.pth")


def onnx_file(path: Path, batch: int | str = "batch", height: int | str = 32) -> Path:
    """A convolution and global pooling, as [B, 4] features, with the weights of `torch_net`."""
    weight = numpy_helper.from_array(torch_net().weight.detach().numpy(), "weight")
    shape = numpy_helper.from_array(np.array([0, -1]), "shape")
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["map"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["feature"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, 16])],
        [
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [batch, 4, 1, 1]),
            helper.make_tensor_value_info("feature", TensorProto.FLOAT, [batch, 4]),
        ],
        [weight, shape],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def torch_net() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3, bias=False)


class TestOnnx:
    @pytest.mark.parametrize("batch", ["batch", 1, 2, 8])
    def test_features_are_those_of_the_graph(self, tmp_path, batch):
        images = torch.randn(5, 3, 32, 16)
        net = OnnxNet(onnx_file(tmp_path / "net.onnx", batch), 32, 16)
        torch.testing.assert_close(net(images), torch_net()(images).mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
        assert net.num_parameters == 4 * 3 * 9

    def test_another_size_is_refused(self, tmp_path):
        with pytest.raises(
            ValueError, match=re.escape("one image [B, 3, 64, 16], its inputs are image ['batch', 3, 32, 16]")
        ):
            OnnxNet(onnx_file(tmp_path / "net.onnx"), 64, 16)
        OnnxNet(onnx_file(tmp_path / "free.onnx", height="height"), 64, 16)

    def test_what_is_no_onnx_file(self, tmp_path):
        (tmp_path / "net.onnx").write_bytes(b"nothing")
        with pytest.raises(ValueError, match="is not an ONNX file"):
            OnnxNet(tmp_path / "net.onnx", 32, 16)
        with pytest.raises(ValueError, match="does not exist"):
            OnnxNet(tmp_path / "none.onnx", 32, 16)

    @pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
    def test_other_precision_is_fed_as_it_is_and_comes_back_as_float32(self, tmp_path, kind):
        images = torch.randn(5, 3, 32, 16)
        found = OnnxNet(flat_onnx(tmp_path / "net.onnx", kind), 32, 16)(images)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, images.flatten(1), rtol=1e-2, atol=1e-3)

    @pytest.mark.parametrize("kind", ["UINT8", "INT64", "BOOL"])
    def test_other_images_are_refused_when_the_file_is_opened(self, tmp_path, kind):
        with pytest.raises(ValueError, match=rf"net.onnx must take images of .* is tensor\({kind.lower()}\): export"):
            OnnxNet(flat_onnx(tmp_path / "net.onnx", kind), 32, 16)

    def test_of_several_outputs_the_one_that_is_taken_is_said(self, tmp_path, capfd):
        OnnxNet(flat_onnx(tmp_path / "one.onnx", "FLOAT"), 32, 16)
        assert capfd.readouterr().err == ""
        net = OnnxNet(onnx_file(tmp_path / "two.onnx"), 32, 16)
        said = capfd.readouterr().err
        assert net.output == "feature" and said.count("\n") == 1
        assert "two.onnx: the output 'feature' is taken for the features, of pooled ['batch', 4, 1, 1]" in said

    def test_texts_and_whole_numbers_are_no_features(self, tmp_path):
        path = flat_onnx(tmp_path / "net.onnx", "FLOAT", as_type=TensorProto.INT64)
        with pytest.raises(ValueError, match=r"net.onnx must have an output of features .* tensor\(int64\)"):
            OnnxNet(path, 32, 16)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ([1, -1], r"one row of features \[D\] for each image: for 2 images .* is \[1, "),
            ([-1, 3], r"one row of features \[D\] for each image: for 2 images .* is \[1024, 3\]"),
            ([7, -1], r"cannot be run by onnxruntime: "),
        ],
    )
    def test_what_gives_no_row_for_each_image_is_refused_when_it_is_opened(self, tmp_path, capfd, shape, message):
        path = reshaping_onnx(tmp_path / "net.onnx", shape)
        with pytest.raises(ValueError, match=rf"net\.onnx.*{message}"):
            OnnxNet(path, 32, 16)
        assert capfd.readouterr().err == "", "onnxruntime writes nothing of its own"

    def test_features_that_are_no_numbers_are_refused_when_it_is_opened(self, tmp_path):
        path = reshaping_onnx(tmp_path / "net.onnx", [-1, 3 * 32 * 16], "Log")
        with pytest.raises(ValueError, match=r"net\.onnx must give finite features"):
            OnnxNet(path, 32, 16)

    def test_another_size_is_said(self, tmp_path):
        with pytest.raises(ValueError, match="set --images.height 32 and --images.width 16"):
            OnnxNet(onnx_file(tmp_path / "net.onnx"), 32, 32)


def reshaping_onnx(path: Path, shape: list[int], *steps: str) -> Path:
    """The pixels in another shape, behind operations."""
    names = ["image", *steps]
    nodes = [helper.make_node(step, [name], [step]) for name, step in pairwise(names)]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Reshape", [names[-1], "shape"], ["feature"])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 16])],
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["any", "dim"])],
        [numpy_helper.from_array(np.array(shape), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def flat_onnx(path: Path, kind: str, as_type: int | None = None) -> Path:
    """The pixels themselves as features, for images of any type; `as_type` casts them."""
    number = getattr(TensorProto, kind)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Identity", ["flat"], ["feature"])]
    if as_type:
        nodes[1] = helper.make_node("Cast", ["flat"], ["feature"], to=as_type)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", number, ["batch", 3, 32, 16])],
        [helper.make_tensor_value_info("feature", as_type or number, ["batch", 3 * 32 * 16])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
