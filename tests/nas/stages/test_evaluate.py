"""`nas evaluate` on what is no run's: networks of others and saved features, through the real command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from nas.cli.arguments import parse_network_args
from nas.data.images import Images
from nas.metrics.rerank import Rerank
from nas.report.query_results import Queries
from nas.stages.evaluate import evaluate_other
from nas.tasks.reid.features import Features
from nas.tasks.reid.others import OtherNetwork
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from tests.nas.cli.program import nas
from tests.nas.models.test_library import onnx_file
from tests.nas.tasks.reid.test_features import saved

DATA = ["--data.num-train-ids", "2", "--data.num-test-ids", "4", "--data.num-cameras", "2", "--data.images-per-id", "6"]
SIZE = ["--images.height", "32", "--images.width", "16"]
CPU = ["--machine.device", "cpu", "--machine.threads", "1", "--evaluation.num-strips", "3"]


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Features of four queries of two identities, and of a gallery in which a third is too."""
    rng = np.random.default_rng(seed)
    return {
        "query": rng.normal(size=(4, 8)).astype(np.float32),
        "query_ids": np.array([1, 1, 2, 2]),
        "gallery": rng.normal(size=(9, 8)).astype(np.float32),
        "gallery_ids": np.array([1, 2, 3] * 3),
        "query_cameras": np.array([1, 2, 1, 2]),
        "gallery_cameras": np.array([1, 1, 1, 2, 2, 2, 3, 3, 3]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ONNX file, measured and re-ranked."""
    folder = tmp_path_factory.mktemp("onnx")
    assert (
        nas(
            "evaluate",
            onnx_file(folder / "net.onnx"),
            "--on",
            "pedestrians",
            *DATA,
            *SIZE,
            *CPU,
            "--rerank",
            "--evaluation.reranking.k1",
            5,
            "--out",
            folder,
        )
        == 0
    )
    return folder


class TestNetworks:
    @pytest.mark.medium
    def test_every_artefact_is_there(self, folder):
        made = {"metrics.json", "features", "queries", "strips", "plots", "thumbnails"}
        assert {path.name for path in folder.iterdir()} >= made
        names = {f"{plot}.{kind}" for plot in ("tsne", "distances", "cameras") for kind in ("svg", "json")}
        assert {path.name for path in (folder / "plots").iterdir()} == names
        listed = json.loads((folder / "thumbnails" / "index.json").read_text())
        assert len(listed["query"]) == 8 and len(listed["gallery"]) == 16
        assert len(list((folder / "strips").iterdir())) == 3
        for path in (folder / "strips").iterdir():
            with Image.open(path) as image:
                assert min(image.size) > 10

    @pytest.mark.medium
    def test_plain_and_re_ranked_rows_say_what_they_are(self, folder):
        metrics = metrics_of(folder)
        plain, reranked = metrics["rows"]
        assert (plain["name"], reranked["name"]) == ("model (net.onnx)", "model (net.onnx), re-ranked")
        assert reranked["rerank"] == {"k1": 5, "k2": 6, "lambda_value": 0.3} and "rerank" not in plain
        assert plain["parameters"] == 108 and "multiply_adds" not in plain and plain["ms_per_image_1"] > 0
        assert metrics["protocol"] == {
            "distance": "cosine",
            "ap": "plain",
            "same_camera": "remove",
            "num_queries": 8,
            "num_skipped": 0,
            "num_gallery": 16,
            "height": 32,
            "width": 16,
            "flip": False,
        }
        assert metrics["subject"].endswith("net.onnx") and metrics["data"] == "Pedestrians"

    @pytest.mark.medium
    def test_the_saved_features_and_single_queries_give_the_rows(self, folder):
        features = Features.load(folder / "features" / "model.safetensors")
        for row, rerank in zip(metrics_of(folder)["rows"], (None, Rerank(k1=5)), strict=True):
            found, queries = features.evaluate(Evaluation(), rerank), Queries.load(folder / row["queries"])
            assert found.mAP == row["mAP"] == np.nanmean(queries.average_precision)
            assert (queries.first_match_rank == 1).mean() == row["rank1"]
            assert queries.names[0].startswith("pedestrians/test") and queries.cameras.tolist() == [0, 1] * 4
            for i, images in enumerate(queries.found):
                assert len(images) == 10 and all(image.name.startswith("pedestrians/test") for image in images)
                first = queries.first_match_rank[i]
                assert [image.identity for image in images].index(queries.ids[i]) + 1 == first or first > 10

    @pytest.mark.medium
    def test_another_subjects_folder_is_kept(self, folder, capfd):
        before = (folder / "metrics.json").read_bytes()
        arguments = ["evaluate", "squeezenet1_1", "--on", "pedestrians", *DATA, *SIZE, *CPU, "--out", folder]
        assert nas(*arguments) == 2
        assert "net.onnx, not of squeezenet1_1" in capfd.readouterr().err
        assert (folder / "metrics.json").read_bytes() == before

    @pytest.mark.medium
    def test_one_of_torchvision_with_a_checkpoint(self, tmp_path, capfd, monkeypatch):
        monkeypatch.chdir(tmp_path)
        torch.manual_seed(1)
        torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), "weights.pth")
        assert (
            nas(
                "evaluate",
                "shufflenet_v2_x0_5",
                "--on",
                "pedestrians",
                "--weights",
                "weights.pth",
                *DATA,
                *SIZE,
                *CPU,
                "--json",
            )
            == 0
        )
        said = json.loads(capfd.readouterr().out)
        assert said["run"] == "runs/out/evaluate-shufflenet_v2_x0_5-pedestrians"
        (row,) = said["metrics"]["rows"]
        net = torchvision.models.shufflenet_v2_x0_5()
        assert row["parameters"] == sum(p.numel() for p in net.parameters()) - sum(
            p.numel() for p in net.fc.parameters()
        )
        torch.save(net.state_dict(), "others.pth")
        assert nas("evaluate", "shufflenet_v2_x0_5", "--on", "pedestrians", "--weights", "others.pth") == 2
        assert "weights: weights.pth, not of shufflenet_v2_x0_5 with weights: others.pth" in capfd.readouterr().err

    @pytest.mark.medium
    @pytest.mark.filterwarnings("default:the weights of")
    def test_random_weights_are_told_and_the_same_each_time(self, tmp_path, capfd):
        found = []
        for num_strips in (3, 0):
            assert (
                nas(
                    "evaluate",
                    "shufflenet_v2_x0_5",
                    "--on",
                    "pedestrians",
                    *DATA,
                    *SIZE,
                    *CPU,
                    "--out",
                    tmp_path,
                    "--evaluation.num-strips",
                    num_strips,
                )
                == 0
            )
            assert "shufflenet_v2_x0_5 are random: give a checkpoint as --weights" in capfd.readouterr().err
            found.append(Features.load(tmp_path / "features" / "model.safetensors").query)
        assert torch.equal(*found)
        assert not (tmp_path / "strips").exists()
        assert metrics_of(tmp_path)["subject"] == "shufflenet_v2_x0_5 with weights: random"

    def test_a_file_has_its_own_weights(self, tmp_path, capfd):
        assert nas("evaluate", onnx_file(tmp_path / "net.onnx"), "--on", "pedestrians", "--weights", "w.pth") == 2
        assert "net.onnx holds its own weights: leave --weights out" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "a network from elsewhere needs a data set to be measured on: --on NAME, with market1501"),
            (["--on", "pedestrian"], "no data set is named 'pedestrian' (did you mean 'pedestrians'"),
            (["--on", "market1501", "--data.root", "nowhere"], '"nowhere" does not exist'),
        ],
    )
    def test_the_data_set_has_to_be_said(self, capfd, arguments, message, tmp_path):
        assert nas("evaluate", "resnet18", *arguments, "--out", tmp_path) == 2
        assert message in capfd.readouterr().err

    def test_help_lists_the_data_sets_fields(self, capfd):
        assert nas("evaluate", "resnet18", "--on", "market1501", "--help") == 0
        out = capfd.readouterr().out
        assert all(flag in out for flag in ("--data.root", "--weights", "--evaluation.rerank", "--images.height"))

    @pytest.mark.filterwarnings("default:no .* was drawn")
    def test_without_cameras_the_option_is_named(self, tmp_path, capfd):
        lines = ["path,identity,split"]
        for name, identity, split in (
            ("a1", "a", "train"),
            ("a2", "a", "train"),
            ("b", "b", "query"),
            ("c", "b", "gallery"),
        ):
            Image.effect_noise((16, 32), 40).convert("RGB").save(tmp_path / f"{name}.png")
            lines.append(f"{name}.png,{identity},{split}")
        (tmp_path / "list.csv").write_text("\n".join(lines))
        arguments = [
            "evaluate",
            onnx_file(tmp_path / "net.onnx"),
            "--on",
            "csv",
            "--data.file",
            tmp_path / "list.csv",
            *SIZE,
            *CPU,
            "--out",
            tmp_path / "out",
        ]
        assert nas(*arguments) == 2
        assert "--keep-same-camera" in capfd.readouterr().err and not (tmp_path / "out").exists()
        assert nas(*arguments, "--keep-same-camera") == 0
        assert metrics_of(tmp_path / "out")["protocol"]["same_camera"] == "keep"
        said = capfd.readouterr().err
        assert "no tsne.svg was drawn: a t-SNE needs at least 4 images, got 1" in said
        assert "no distances.svg was drawn: there must be right and wrong pairs" in said
        assert not (tmp_path / "out" / "plots").exists()


class TestRepeats:
    @pytest.mark.medium
    def test_means_and_deviations_over_the_partitions(self, tmp_path):
        from dataclasses import dataclass, replace

        from nas.data.sets.pedestrians import Pedestrians

        @dataclass(frozen=True, kw_only=True)
        class Repeated(Pedestrians):
            """The pedestrians with the queries and the gallery of a second repeat exchanged."""

            def load(self):
                data = super().load()
                parts = np.split(np.arange(len(data.query) + len(data.gallery)), [len(data.query)])
                return replace(data, partitions=(tuple(parts), tuple(parts[::-1])))

        data = Repeated(num_train_ids=2, num_test_ids=4, num_cameras=2, images_per_id=6)
        other = OtherNetwork(
            subject=str(onnx_file(tmp_path / "net.onnx")),
            data=data,
            images=Images(height=32, width=16),
            machine=Machine(device="cpu"),
        )
        (row,) = evaluate_other(other, tmp_path)["rows"]
        features = Features.load(tmp_path / "features" / "model.safetensors")
        both = [
            features,
            Features(
                query=features.gallery,
                gallery=features.query,
                query_ids=features.gallery_ids,
                gallery_ids=features.query_ids,
                query_cameras=features.gallery_cameras,
                gallery_cameras=features.query_cameras,
            ),
        ]
        each = [part.evaluate(Evaluation()).mAP for part in both]
        assert row["mAP"] == pytest.approx(np.mean(each)) and row["mAP_sd"] == pytest.approx(np.std(each, ddof=1))
        assert row["repeats"] == 2 and each[0] != each[1]
        once = replace(other, evaluation=Evaluation(repeats=1))
        assert evaluate_other(once, tmp_path, overwrite=True)["rows"][0]["mAP"] == each[0]


class TestFeatures:
    @pytest.mark.medium
    @pytest.mark.parametrize("name", ["features.npz", "features.safetensors"])
    def test_saved_features_need_no_data_set(self, tmp_path, name, capfd):
        path = saved(tmp_path, name, **arrays())
        assert nas("evaluate", path, "--ap", "trapezoid", "--rerank", "--out", tmp_path / "out", "--json") == 0
        metrics = json.loads(capfd.readouterr().out)["metrics"]
        assert metrics == metrics_of(tmp_path / "out") and metrics["protocol"]["ap"] == "trapezoid"
        assert metrics["rows"][0]["mAP"] == Features.load(path).evaluate(Evaluation(ap="trapezoid")).mAP
        assert len(metrics["rows"]) == 2

    @pytest.mark.filterwarnings("default:no .* was drawn")
    def test_features_without_cameras(self, tmp_path, capfd):
        path = saved(tmp_path, "features.npz")
        assert nas("evaluate", path, "--out", tmp_path / "out") == 2
        assert "--keep-same-camera" in capfd.readouterr().err
        assert nas("evaluate", path, "--out", tmp_path / "out", "--keep-same-camera") == 0
        assert "features (features.npz)" in capfd.readouterr().out

    @pytest.mark.parametrize(
        ("flags", "evaluation"),
        [
            (["--repeats", "3", "--rerank"], Evaluation(repeats=3, rerank=True)),
            (["--distance", "euclidean", "--ap", "trapezoid"], Evaluation(distance="euclidean", ap="trapezoid")),
            (["--keep-same-camera"], Evaluation(same_camera="keep")),
        ],
    )
    def test_short_flags_are_fields_of_the_evaluation(self, tmp_path, flags, evaluation):
        other, _ = parse_network_args(str(saved(tmp_path, "features.npz")), flags)
        assert other.evaluation == evaluation

    def test_features_have_no_mirror_image(self, tmp_path, capfd):
        assert nas("evaluate", saved(tmp_path, "features.npz"), "--flip", "--out", tmp_path / "out") == 2
        assert "features.npz holds features, of which there is no mirror image" in capfd.readouterr().err

    @pytest.mark.filterwarnings("default:no .* was drawn")
    def test_identities_to_draw_must_be_in_the_gallery(self, tmp_path, capfd):
        assert (
            nas(
                "evaluate",
                saved(tmp_path, "features.npz"),
                "--keep-same-camera",
                "--evaluation.tsne-ids",
                1,
                9,
                8,
                "--out",
                tmp_path / "out",
            )
            == 0
        )
        assert "tsne_ids must be identities of the gallery, but it has no image of 8, 9" in capfd.readouterr().err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Features, and in `out` what was measured of them."""
    folder = tmp_path_factory.mktemp("features")
    assert nas("evaluate", saved(folder, "features.npz", **arrays()), "--out", folder / "out") == 0
    return folder


class TestOtherRules:
    """Results by other rules, or of another content, take no other's place without a word."""

    @pytest.fixture
    def features(self, done):
        """The file that was measured, whose path is part of the results; a test may replace it."""
        path = done / "features.npz"
        before = path.read_bytes()
        yield path
        path.write_bytes(before)

    @pytest.fixture
    def evaluated(self, done, tmp_path):
        return shutil.copytree(done / "out", tmp_path / "out")

    @pytest.mark.medium
    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--distance", "euclidean"], "evaluation.distance: 'cosine', now 'euclidean'"),
            (["--ap", "trapezoid"], "evaluation.ap: 'plain', now 'trapezoid'"),
            (["--keep-same-camera"], "evaluation.same_camera: 'remove', now 'keep'"),
        ],
    )
    def test_they_are_refused_and_named(self, features, evaluated, flags, said, capfd):
        before = content(evaluated)
        assert nas("evaluate", features, *flags, "--out", evaluated) == 2
        told = capfd.readouterr().err
        assert said in told and "--out" in told and "--overwrite" in told
        assert content(evaluated) == before

    @pytest.mark.medium
    def test_overwrite_replaces_them(self, features, evaluated):
        assert nas("evaluate", features, "--ap", "trapezoid", "--out", evaluated, "--overwrite") == 0
        assert metrics_of(evaluated)["protocol"]["ap"] == "trapezoid"

    @pytest.mark.medium
    def test_so_is_another_content(self, features, evaluated, capfd):
        saved(features.parent, features.name, **arrays(1))
        assert nas("evaluate", features, "--out", evaluated) == 2
        assert "content: " in capfd.readouterr().err

    @pytest.mark.medium
    def test_rows_may_be_added_and_not_lost(self, features, evaluated, capfd):
        assert nas("evaluate", features, "--rerank", "--out", evaluated) == 0
        assert nas("evaluate", features, "--rerank", "--evaluation.reranking.k1", 5, "--out", evaluated) == 2
        assert "reranking.k1: 20, now 5" in capfd.readouterr().err
        assert nas("evaluate", features, "--out", evaluated) == 2
        assert "rerank: True, now False" in capfd.readouterr().err

    @pytest.mark.medium
    def test_results_of_earlier_versions_are_held_by_their_protocol(self, features, evaluated, capfd):
        metrics = metrics_of(evaluated)
        del metrics["rules"]
        (evaluated / "metrics.json").write_text(json.dumps(metrics))
        assert nas("evaluate", features, "--distance", "euclidean", "--out", evaluated) == 2
        assert "distance: 'cosine', now 'euclidean'" in capfd.readouterr().err
        assert nas("evaluate", features, "--rerank", "--out", evaluated) == 0

    @pytest.mark.medium
    @pytest.mark.parametrize("name", ["write_queries", "draw_plots", "write_metrics"])
    def test_an_interrupted_evaluation_changes_nothing(self, features, evaluated, monkeypatch, name):
        before = content(evaluated)
        monkeypatch.setattr(f"nas.tasks.reid.others.{name}", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert nas("evaluate", features, "--distance", "euclidean", "--overwrite", "--out", evaluated) == 130
        assert content(evaluated) == before
