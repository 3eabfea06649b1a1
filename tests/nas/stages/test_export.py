"""The exported file against the network it was made from, what is measured of it, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.data.augment import normalise
from nas.metrics.retrieval import evaluate_retrieval
from nas.models.card import KEY, Card
from nas.models.network import FeatureNet, Network
from nas.models.network_files import FORMATS, open_file
from nas.models.onnx import OnnxNet
from nas.models.onnx_export import OPSET, as_onnx, export_onnx
from nas.run import Run
from nas.stages import export_check, export_form
from nas.stages.export import export
from nas.stages.export_check import Reference, parity
from nas.stages.export_form import Exporter, Form, files_of
from nas.system.files import digest, read_json, write_json
from nas.tasks.reid.task import ReIDTask
from search_spaces.cell import Cells
from search_spaces.cost.latency import Timing
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace
from students.ksl import KSL
from students.reid import ReID

ROOT = Path(__file__).parents[3]
SPACES = {
    "cells": Cells(channels=3, cells=2, reductions=(2,)),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "resnet18": ResNet(width=1 / 16),
    "densenet": DenseNet(blocks=(1, 2, 1, 2), growth=2),
    "shufflenet_v2": ShuffleNetV2(width=0.25),
    "osnet": OSNet(width=1 / 16),
    "nas_bench_201": NASBench201(channels=2, cells=1),
}
FORMS = {
    "onnx fp16": Form(precision="fp16"),
    "onnx uint8": Form(with_preprocessing=True),
    "openvino": Form(format="openvino"),
    "openvino fp16 uint8": Form(format="openvino", precision="fp16", with_preprocessing=True),
    "pt2": Form(format="pt2"),
    "pt2 fp16 uint8": Form(format="pt2", precision="fp16", with_preprocessing=True),
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


def small() -> nn.Module:
    return FeatureNet(trained(ReID(backbone=SPACES["resnet18"], num_ids=5, embedding_dim=8))).eval()


@pytest.fixture
def run(tmp_path):
    """A run of the toy that has a student."""
    made = Run(tmp_path / "run", "toy", recipe_named("toy")[1])
    made.note_recipe()
    space = made.recipe.retrained.with_ids(6)
    Network(trained(space), space, None, tuple(range(6))).save(made.folder / "student.safetensors")
    return made


def nas(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


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
    @pytest.mark.parametrize("backbone", [SPACES[name] for name in ("cells", "shufflenet_v2", "osnet")])
    def test_the_newer_exporter_takes_every_kind_of_layer_and_odd_sizes(self, backbone, tmp_path):
        net = FeatureNet(trained(ReID(backbone=backbone, num_ids=5, embedding_dim=8))).eval()
        content, exporter, why = export_onnx(net, 37, 19)
        (tmp_path / "net.onnx").write_bytes(content)
        assert (exporter, why) == ("dynamo", "")
        images = torch.randn(3, 3, 37, 19)
        with torch.no_grad():
            torch.testing.assert_close(OnnxNet(tmp_path / "net.onnx", 37, 19)(images), net(images), atol=1e-3, rtol=0)

    @pytest.mark.medium
    def test_a_ksl_network_is_exported_without_its_branches(self, tmp_path):
        net = trained(KSL(main=ReID(backbone=MobileNetV2(width=0.1), num_ids=5, embedding_dim=8), branches=("stage4",)))
        net = FeatureNet(net).eval()
        (tmp_path / "net.onnx").write_bytes(as_onnx(net, 32, 16))
        assert parity(OnnxNet(tmp_path / "net.onnx", 32, 16), None, Reference(net, ""), Card(height=32, width=16))

    @pytest.mark.medium
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_every_form_gives_the_networks_features_for_batches_of_any_size(self, form, tmp_path):
        takes = "uint8" if form.with_preprocessing else "normalised"
        card, net = Card(height=32, width=16, takes=takes, precision=form.precision, network="mine"), small()
        written = Exporter(net, form, card, tmp_path).write(form.precision)
        read = open_file(written.path, card)
        pixels = torch.randint(256, (5, 3, 32, 16), dtype=torch.uint8)
        images = pixels if takes == "uint8" else normalise(pixels)
        with torch.no_grad():
            expected = net(normalise(pixels))
        expected = nn.functional.normalize(expected) if takes == "uint8" else expected
        for size in (5, 1):
            found = read(images[:size])
            assert found.dtype == torch.float32
            close = 1e-4 if form.precision == "fp32" else 2e-2
            torch.testing.assert_close(found, expected[:size], atol=close, rtol=close)
        assert expected.std() > 0.1 and written.num_bytes > 1000
        assert Card.from_json(held_card(written.path), written.path) == card

    @pytest.mark.medium
    def test_int8_quantises_what_is_named_and_stays_near_the_network(self, tmp_path):
        card, net = Card(height=32, width=16, takes="uint8"), small()
        exporter = Exporter(net, Form(with_preprocessing=True), card, tmp_path)
        layers = exporter.candidates()
        pixels = torch.randint(256, (40, 3, 32, 16), dtype=torch.uint8)
        written = exporter.write_quantised("all convolutions", layers["all layers"], pixels.numpy())
        model = onnx.load(written.path)
        assert {weight.data_type for weight in model.graph.initializer} >= {onnx.TensorProto.INT8}
        with torch.no_grad():
            cosines = nn.functional.cosine_similarity(open_file(written.path, card)(pixels), net(normalise(pixels)))
        assert cosines.mean() > 0.9 and written.num_bytes < exporter.write("fp32").num_bytes

    @pytest.mark.medium
    def test_nothing_of_this_machine_is_in_a_file(self, tmp_path):
        for form in (Form(), Form(format="pt2")):
            path = Exporter(small(), form, Card(height=32, width=16), tmp_path).write("fp32").path
            assert str(ROOT).encode() not in path.read_bytes()

    def test_the_parity_is_that_of_these_two(self, tmp_path):
        one, two = small(), small()
        with torch.no_grad():
            two.net.neck.bias[3] += 0.5
        (tmp_path / "net.onnx").write_bytes(as_onnx(one, 32, 16))
        card = Card(height=32, width=16, precision="int8")
        file = OnnxNet(tmp_path / "net.onnx", 32, 16)
        compared = parity(file, None, Reference(two, ""), card)
        assert compared["largest_difference"] == pytest.approx(0.5, abs=1e-3) and compared["images"] == "random"
        for precision, said in (("fp32", "must be within 0.0001 of the network's"), ("fp16", "must be above 0.999")):
            with pytest.raises(ValueError, match=said):
                parity(
                    OnnxNet(tmp_path / "net.onnx", 32, 16), None, Reference(two, ""), replace(card, precision=precision)
                )


def held_card(path: Path) -> str:
    """The card in a file, read by the format's own library."""
    if path.suffix == ".onnx":
        return {each.key: each.value for each in onnx.load(path).metadata_props}[KEY]
    if path.suffix == ".xml":
        import openvino

        return openvino.Core().read_model(path).get_rt_info(KEY).astype(str)
    extra = {KEY: ""}
    torch.export.load(path, extra_files=extra)
    return extra[KEY]


class Bessel(nn.Module):
    """What ONNX has no operation for."""

    def forward(self, x):
        return torch.special.bessel_j1(x)


class Choosing(nn.Module):
    """What only tracing takes."""

    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > -1 else x.amax((2, 3))


class TestExporters:
    @pytest.mark.medium
    def test_an_operation_that_onnx_lacks_is_named_with_its_layer(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), Bessel()), nn.Flatten()).eval()
        with pytest.raises(ValueError, match=r"'aten::special_bessel_j1' .* is not supported, in 1\.1$"):
            export_onnx(net, 16, 16)

    def test_where_the_newer_one_fails_the_older_one_writes_and_that_is_said(self):
        content, exporter, why = export_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), Choosing()).eval(), 16, 16)
        assert exporter == "tracing" and "data-dependent" in why
        assert [each.version for each in onnx.load_from_string(content).opset_import] == [OPSET]

    @pytest.mark.medium
    def test_nodes_are_named_by_their_modules(self):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 5, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        content, *_ = export_onnx(net.eval(), 16, 16)
        names = [node.name for node in onnx.load_from_string(content).graph.node if node.op_type == "Conv"]
        assert [name.partition("/")[0] for name in names] == ["0", "1.0"]


class TestMeasured:
    @pytest.mark.medium
    def test_the_table_has_what_the_features_of_the_file_are_worth(self, run):
        said = export(run)
        assert said["good"] and said["exporter"] == "dynamo" and said["rows"][-1]["ms_per_image_8"] > 0
        data = run.recipe.data.load()
        read = OnnxNet(run.folder / "student.onnx", 32, 16)
        sides = {}
        for name in ("query", "gallery"):
            split = data.splits[name]
            pixels = [torch.tensor(list(split.images.read(i).resize((16, 32)).tobytes())) for i in range(len(split))]
            sides[name] = read(normalise(torch.stack(pixels).view(-1, 32, 16, 3).permute(0, 3, 1, 2)))
        found = evaluate_retrieval(
            sides["query"], sides["gallery"], *(torch.as_tensor(data.splits[name].ids) for name in sides),
            *(torch.as_tensor(data.splits[name].cameras) for name in sides),
        )  # fmt: skip
        network, file = said["rows"]
        assert file["mAP"] == pytest.approx(found.mAP, abs=1e-6) and file["rank1"] == found.rank(1)
        assert network["mAP"] == pytest.approx(file["mAP"], abs=1e-3)
        assert said["parity"]["images"] == sum(map(len, sides.values())) and said["parity"]["same_first"] > 0.9
        assert file["bytes"] == (run.folder / "student.onnx").stat().st_size
        assert read_json(run.folder / "student.onnx.json") == said

    @pytest.mark.medium
    def test_a_file_that_loses_too_much_is_not_written(self, run, tmp_path, capfd):
        words = ("--height", 48, "--width", 24, "--out", tmp_path / "big.onnx", "--json")
        assert nas("export", run.folder, *words, "--tolerance", 100) == 0
        said = json.loads(capfd.readouterr().out)
        own, other, file = said["export"]["rows"]
        assert "48x24" in other["name"] and other["mAP"] == pytest.approx(file["mAP"], abs=1e-3)
        assert said["export"]["mAP_fall"] == pytest.approx(100 * (own["mAP"] - file["mAP"]))
        assert said["onnx"] == str(tmp_path / "big.onnx") and OnnxNet(tmp_path / "big.onnx", 48, 24).card.width == 24
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reference, "fall", lambda *_: 1.5)
            assert nas("export", run.folder) == 1
        assert "not written: its mAP is 1.50 points below the network's" in capfd.readouterr().out
        assert not list(run.folder.glob("*.onnx*"))

    @pytest.mark.medium
    def test_int8_takes_the_fastest_candidate_that_keeps_the_map(self, run, monkeypatch):
        falls = {"all layers": 3.0, "all convolutions": 0.5, "dense 1x1": 0.0}
        layers = {what: ["a"] * n for n, what in enumerate(falls, start=1)}
        exporter = FakeExporter(layers)
        times = [{1: Timing(median=ms, low=ms, high=ms, processor=ms)} for ms in (5.0, 1.0, 2.0, 3.0)]
        monkeypatch.setattr(export_check, "time_files", lambda paths, card: (times, None))
        monkeypatch.setattr(export_check, "open_file", lambda path, card: path)
        reference = Reference(None, "", own=Found("", mAP=0.5), found=Found("", mAP=0.5))
        data = FakeData({what: 0.5 - fall / 100 for what, fall in falls.items()})
        made = export_check.make(exporter, Form(precision="int8"), data, reference)
        assert [row["name"] for row in made.candidates if row.get("chosen")] == ["all convolutions"]
        assert made.found.mAP == 0.495 and made.written.path == "all convolutions" and data.asked == list(falls)[:2]
        strict = export_check.make(exporter, Form(precision="int8", tolerance=0), data, reference)
        assert strict.written.path == "dense 1x1"
        data.worth = dict.fromkeys(falls, 0.1) | {"all convolutions": 0.2}
        none_keeps = export_check.make(exporter, Form(precision="int8"), data, reference)
        assert none_keeps.written.path == "all convolutions" and reference.fall(none_keeps.found) == pytest.approx(30)

    @pytest.mark.medium
    def test_int8_through_the_command(self, run, capfd):
        assert nas("export", run.folder, "--precision", "int8", "--calibration", 8, "--tolerance", 100, "--json") == 0
        said = json.loads(capfd.readouterr().out)["export"]
        chosen = [row for row in said["candidates"] if row.get("chosen")]
        assert said["candidates"][0]["name"] == "nothing" and len(chosen[0]["names"]) == chosen[0]["layers"] > 0
        assert chosen[0]["mAP"] == said["rows"][-1]["mAP"] and len(said["rows"]) == 3
        card = OnnxNet(run.folder / "student-int8.onnx", 32, 16).card
        assert card.precision == "int8" and card.num_identities == 6 and card.embedding_size == 8

    @pytest.mark.medium
    def test_thresholds_of_the_evaluation_are_in_the_card(self, run):
        points = [{"fpr": 0.1, "tpr": 0.9, "threshold": 0.4}]
        verified = {"points": points, "roc": {"fpr": [], "tpr": []}, "eer": 0.2, "eer_threshold": 0.3}
        row = {"role": "student", "name": "s", "verification": verified | {"num_right": 9, "num_wrong": 99}}
        metrics = {"format": 1, "protocol": {"distance": "cosine"}, "rows": [{"role": "teacher", "name": "t"}, row]}
        metrics["measured"] = {"student.safetensors": digest(run.folder / "student.safetensors")}
        write_json(run.folder / "metrics.json", metrics)
        export(run, form=Form(no_measure=True))
        card = OnnxNet(run.folder / "student.onnx", 32, 16).card
        assert card.thresholds == ((0.1, 0.4),) and card.eer_threshold == 0.3
        export(run, form=Form(no_measure=True, width=24), overwrite=True)
        assert OnnxNet(run.folder / "student.onnx", 32, 24).card.thresholds == ()


class Found:
    def __init__(self, features, mAP):
        self.mAP, self.rank1 = mAP, mAP


class FakeExporter:
    """Writes nothing: a file is the name of what is quantised."""

    card = Card(height=32, width=16)

    def __init__(self, layers):
        self.layers = layers

    def candidates(self):
        return self.layers

    def write(self, precision):
        return FakeFile("nothing")

    def write_quantised(self, what, names, images):
        return FakeFile(what)


class FakeFile:
    num_bytes = 1

    def __init__(self, path):
        self.path = path


class FakeData:
    def __init__(self, worth):
        self.worth, self.asked = worth, []

    def calibration(self, num_images):
        return torch.zeros(num_images, 3, 32, 16)

    def find(self, net, title):
        self.asked.append(net)
        return Found("", self.worth[net])


class TestCommand:
    @pytest.mark.medium
    def test_what_it_writes_can_be_evaluated_also_with_preprocessing(self, run, tmp_path, capfd):
        rows = []
        for words in ((), ("--with-preprocessing",)):
            file = tmp_path / f"mine{len(words)}.onnx"
            assert nas("export", run.folder, "--out", file, "--json", *words) == 0
            said = json.loads(capfd.readouterr().out)
            assert said["onnx"] == str(file) and said["run"] == str(run.folder)
            sizes = {"num-train-ids": 2, "num-test-ids": 3, "images-per-id": 4, "num-cameras": 2}
            sizes |= {"height": 32, "width": 16}
            options = [f"--data.{name}={value}" for name, value in sizes.items()]
            options += ["--images.height=32", "--images.width=16", "--machine.device=cpu", "--evaluation.num-strips=1"]
            out = tmp_path / f"measured{len(words)}"
            assert nas("evaluate", file, "--on", "pedestrians", *options, "--out", out, "--json") == 0
            rows += json.loads(capfd.readouterr().out)["metrics"]["rows"]
        assert 0 < rows[0]["mAP"] <= 1 and rows[1]["mAP"] == pytest.approx(rows[0]["mAP"], abs=1e-3)

    @pytest.mark.medium
    def test_inputs_outputs_and_opset(self, run):
        said = export(run, form=Form(no_measure=True))
        model = onnx.load(run.folder / "student.onnx")
        onnx.checker.check_model(model, full_check=True)
        (image,) = model.graph.input
        (feature,) = model.graph.output
        sizes = [
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (image, feature)
        ]
        assert (image.name, feature.name) == ("images", "features") and sizes == [["batch", 3, 32, 16], ["batch", 8]]
        assert [each.version for each in model.opset_import if not each.domain] == [OPSET]
        assert said["images"] == sizes[0] and said["embedding_size"] == 8 and said["rows"] == []

    @pytest.mark.medium
    def test_for_people(self, run, capfd):
        assert nas("export", run.folder) == 0
        out = capfd.readouterr().out
        assert f"ONNX network: {run.folder}/student.onnx" in out and "dynamo wrote it" in out
        assert "of the network's" in out and "ms, batch 8" in out and "onnx fp32" in out

    @pytest.mark.medium
    def test_a_file_that_is_there_is_kept(self, run, capfd):
        (run.folder / "student.onnx").write_bytes(b"mine")
        assert nas("export", run.folder, "--no-measure") == 2
        assert "student.onnx exists" in capfd.readouterr().err
        assert (run.folder / "student.onnx").read_bytes() == b"mine"
        assert nas("export", run.folder, "--no-measure", "--overwrite") == 0
        assert onnx.load(run.folder / "student.onnx").graph.output


class TestRefused:
    def test_before_the_retraining(self, run):
        (run.folder / "student.safetensors").unlink()
        with pytest.raises(ValueError, match="has no student.safetensors yet: `nas retrain"):
            export(run)

    def test_calibration_images_that_are_not_there(self, run, monkeypatch):
        monkeypatch.setattr(ReIDTask, "calibration", lambda *_: torch.empty(0, 3, 32, 16, dtype=torch.uint8))
        monkeypatch.setattr(export_form, "export_onnx", lambda *_: (b"", "dynamo", ""))
        with pytest.raises(ValueError, match="calibrated on training images, and the run's data set has none"):
            export(run, form=Form(precision="int8", no_measure=True))

    def test_a_network_that_the_run_does_not_have(self, run):
        with pytest.raises(
            ValueError, match="must be one of the run's trained networks, not 'baseline': .* has student"
        ):
            export(run, form=Form(network="baseline"))

    @pytest.mark.parametrize("kind", FORMATS)
    def test_another_kind_of_file(self, run, tmp_path, kind):
        with pytest.raises(ValueError, match=f"must be a file named \\*{FORMATS[kind]} for --format {kind}"):
            export(run, tmp_path / "student.pt", form=Form(format=kind))

    def test_every_file_of_an_earlier_export_is_kept(self, run):
        form = Form(format="openvino")
        assert [path.name for path in files_of(form.path_in(run.folder))] == [
            *("student.bin", "student.xml", "student.xml.json"),
        ]
        for path in files_of(form.path_in(run.folder)):
            path.write_bytes(b"mine")
            with pytest.raises(ValueError, match=f"{path.name} exists: give --out"):
                export(run, form=form)
            path.unlink()

    def test_without_a_package(self, run, monkeypatch):
        monkeypatch.setattr(export_form, "find_spec", lambda name: None if name == "openvino" else name)
        with pytest.raises(ValueError, match=r"needs the package openvino: pip install 'nas-reid\[deploy\]'"):
            export(run, form=Form(format="openvino"))

    def test_forms_that_do_not_exist_and_numbers_out_of_range(self, run, capfd):
        assert nas("export", run.folder, "--format", "pt2", "--precision", "int8") == 2
        assert capfd.readouterr().err.startswith("nas: --format pt2 takes --precision fp32 or fp16")
        with pytest.raises(ValueError, match="tolerance must be at least 0, not -1"):
            Form(tolerance=-1)
        with pytest.raises(ValueError, match="calibration must be at least 1, not 0"):
            Form(calibration=0)

    def test_a_data_set_that_cannot_be_read(self, tmp_path, run):
        from nas.data.sets.market1501 import Market1501

        gone = Run(run.folder, run.name, replace(run.recipe, data=Market1501(root=tmp_path / "gone")))
        with pytest.raises(ValueError, match=r"data set cannot be read \(.*gone.*\): --no-measure exports without it"):
            export(gone)
        with pytest.raises(ValueError, match="int8 needs its training images"):
            export(gone, form=Form(precision="int8", no_measure=True))
        assert not list(run.folder.glob("*.onnx"))
