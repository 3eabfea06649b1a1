"""The exported file against the network it was made from, and what is refused."""

import json

import onnx
import pytest
import torch
from torch import nn

from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.models.network import FeatureNet, Network
from nas.models.onnx import OnnxNet
from nas.models.onnx_export import OPSET, as_onnx
from nas.run import Run
from nas.stages import export as module
from nas.stages.export import export, largest_difference
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace
from students.ksl import KSL
from students.reid import ReID

SPACES = {
    "cells": Cells(channels=3, cells=2, reductions=(2,)),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "resnet18": ResNet(width=1 / 16),
    "densenet": DenseNet(blocks=(1, 2, 1, 2), growth=2),
    "shufflenet_v2": ShuffleNetV2(width=0.25),
    "osnet": OSNet(width=1 / 16),
    "nas_bench_201": NASBench201(channels=2, cells=1),
}


def trained(space: SearchSpace) -> nn.Module:
    """As after a training: BatchNorms know their maps."""
    torch.manual_seed(0)
    net = space.student().train()
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 1.0
    net(torch.randn(8, 3, 64, 32))
    return net.inference().eval()


@pytest.fixture
def run(tmp_path):
    """A run of the toy that has a student."""
    made = Run(tmp_path / "run", "toy", recipe_named("toy")[1])
    made.note_recipe()
    space = made.recipe.retrained.with_ids(6)
    Network(trained(space), space, None, tuple(range(6))).save(made.folder / "student.safetensors")
    return made


class TestFile:
    @pytest.mark.medium
    @pytest.mark.parametrize("backbone", SPACES.values(), ids=SPACES)
    def test_it_says_what_the_network_says(self, backbone, tmp_path):
        net = trained(ReID(backbone=backbone, num_ids=5, embedding_dim=8))
        (tmp_path / "net.onnx").write_bytes(as_onnx(FeatureNet(net).eval(), 64, 32))
        images = torch.randn(5, 3, 64, 32)
        read = OnnxNet(tmp_path / "net.onnx", 64, 32)
        with torch.no_grad():
            expected = net(images).feature
        torch.testing.assert_close(read(images), expected, atol=1e-3, rtol=0)  # small channels' norms enlarge rounding
        torch.testing.assert_close(read(images[:1]), expected[:1], atol=1e-3, rtol=0)
        assert expected.std() > 0.1

    @pytest.mark.medium
    def test_a_ksl_network_is_exported_without_its_branches(self):
        net = trained(KSL(main=ReID(backbone=MobileNetV2(width=0.1), num_ids=5, embedding_dim=8), branches=("stage4",)))
        assert largest_difference(as_onnx(FeatureNet(net).eval(), 32, 16), FeatureNet(net).eval(), 32, 16) < 1e-4

    @pytest.mark.medium
    def test_odd_sizes(self):
        net = FeatureNet(trained(ReID(backbone=SPACES["cells"], num_ids=5, embedding_dim=8))).eval()
        assert largest_difference(as_onnx(net, 37, 19), net, 37, 19) < 1e-4

    @pytest.mark.medium
    def test_inputs_outputs_and_opset(self, run):
        said = export(run)
        model = onnx.load(said["onnx"])
        onnx.checker.check_model(model, full_check=True)
        (image,) = model.graph.input
        (feature,) = model.graph.output
        sizes = [
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (image, feature)
        ]
        assert (image.name, feature.name) == ("images", "features") and sizes == [["batch", 3, 32, 16], ["batch", 8]]
        assert [each.version for each in model.opset_import] == [said["opset"]] == [OPSET]
        assert said["images"] == sizes[0] and said["features"] == 8 and 0 <= said["largest_difference"] < 1e-4

    def test_the_largest_difference_is_between_these_two(self):
        space = ReID(backbone=SPACES["resnet18"], num_ids=5, embedding_dim=8)
        one, two = (FeatureNet(trained(space)).eval() for _ in range(2))
        with torch.no_grad():
            two.net.neck.bias[3] += 0.5
        assert largest_difference(as_onnx(one, 32, 16), two, 32, 16) == pytest.approx(0.5, abs=1e-3)


class TestCommand:
    def nas(self, *arguments: object) -> int:
        return main([str(argument) for argument in arguments])

    @pytest.mark.medium
    def test_what_it_writes_can_be_evaluated(self, run, tmp_path, capfd):
        assert self.nas("export", run.folder, "--out", tmp_path / "mine.onnx", "--json") == 0
        said = json.loads(capfd.readouterr().out)
        assert said["onnx"] == str(tmp_path / "mine.onnx") and said["run"] == str(run.folder)
        sizes = {"num-train-ids": 2, "num-test-ids": 3, "images-per-id": 4, "num-cameras": 2, "height": 32, "width": 16}
        assert (
            self.nas(
                "evaluate",
                said["onnx"],
                "--on",
                "pedestrians",
                *(f"--data.{name}={value}" for name, value in sizes.items()),
                "--images.height",
                32,
                "--images.width",
                16,
                "--machine.device",
                "cpu",
                "--evaluation.num-strips",
                1,
                "--out",
                tmp_path / "measured",
                "--json",
            )
            == 0
        )
        assert 0 < json.loads(capfd.readouterr().out)["metrics"]["rows"][0]["mAP"] <= 1

    @pytest.mark.medium
    def test_for_people(self, run, capfd):
        assert self.nas("export", run.folder) == 0
        out = capfd.readouterr().out
        assert (
            f"opset {OPSET}" in out and f"ONNX network: {run.folder}/student.onnx" in out and "of the network's" in out
        )

    @pytest.mark.medium
    def test_a_file_that_is_there_is_kept(self, run, capfd):
        (run.folder / "student.onnx").write_bytes(b"mine")
        assert self.nas("export", run.folder) == 2
        assert "student.onnx exists" in capfd.readouterr().err
        assert (run.folder / "student.onnx").read_bytes() == b"mine"
        assert self.nas("export", run.folder, "--overwrite") == 0
        assert onnx.load(run.folder / "student.onnx").graph.output


class TestRefused:
    def test_a_file_that_says_something_else_is_not_written(self, run, monkeypatch):
        monkeypatch.setattr(module, "largest_difference", lambda *_: float("nan"))
        with pytest.raises(ValueError, match="must be within 0.0001 of the network's, they differ by nan"):
            export(run)
        assert not (run.folder / "student.onnx").exists()

    def test_before_the_retraining(self, run):
        (run.folder / "student.safetensors").unlink()
        with pytest.raises(ValueError, match="has no student.safetensors yet: `nas retrain"):
            export(run)

    def test_another_kind_of_file(self, run, tmp_path):
        with pytest.raises(ValueError, match="must be a file named \\*.onnx"):
            export(run, tmp_path / "student.pt")

    def test_without_onnxruntime(self, run, monkeypatch):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxruntime" else name)
        with pytest.raises(ValueError, match=r"needs the package onnxruntime: pip install 'nas-reid\[models\]'"):
            export(run)
