"""`nas bench deploy` on networks that have never been trained."""

import dataclasses

import pytest

from nas.bench.deploy import at_hand, deploy
from nas.models.network import Network
from nas.system.peak_memory import peak_memory_mib
from runs.recipes.person_search import toy_street
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from students.reid import ReID
from tests.nas.models.test_library import onnx_file

BACKBONES = {"student": Cells(channels=4, cells=2, reductions=(2,)), "baseline": ResNet(width=1 / 8)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for role, backbone in BACKBONES.items():
        space = ReID(backbone=backbone, num_ids=3, embedding_dim=8)
        network = Network(space.student().eval(), space, None, (1, 2, 3))
        dataclasses.replace(network, card=network.card_for(32, 16)).save(folder / f"{role}.safetensors")
    return folder


@pytest.mark.medium
def test_every_network_stands_beside_the_baseline(run):
    rows = deploy(run, runtimes=("onnxruntime", "torch"), repeats=3)
    assert {title.partition(", ")[0] for title in rows} == {"baseline", "student", "student plain"}
    for title, row in rows.items():
        assert 0 < row["low"] <= row["ms"] <= row["high"], title
        threads = 2 if title.endswith("2 threads") else 1
        assert row["images_per_second"] == pytest.approx(1000 / row["ms"] / threads)
        assert (row["ratio"] == 1) == title.startswith("baseline"), title
    sizes = {title: row["file_mib"] for title, row in rows.items() if "file_mib" in row}
    assert sizes.keys() == {f"{role}, onnxruntime, batch 1, 1 thread" for role in BACKBONES}
    baseline = (
        sum(weights.numel() for weights in Network.load(run / "baseline.safetensors").net.parameters()) * 4 / 2**20
    )
    assert sizes["baseline, onnxruntime, batch 1, 1 thread"] == pytest.approx(baseline, rel=0.2)
    assert all(row["memory_mib"] > row["file_mib"] for row in rows.values() if "file_mib" in row)


@pytest.mark.medium
def test_networks_for_person_search_take_one_image_at_a_time(tmp_path):
    space = toy_street().space.with_ids(3)
    network = Network(space.student().eval(), space, None, (1, 2, 3))
    dataclasses.replace(network, card=network.card_for(64, 96)).save(tmp_path / "student.safetensors")
    rows = deploy(tmp_path, runtimes=("onnxruntime", "torch"), repeats=3)
    assert rows.keys() == {
        f"student, {runtime}, batch 1, {threads}"
        for runtime in ("onnxruntime", "torch")
        for threads in ("1 thread", "2 threads")
    }
    sized = rows["student, onnxruntime, batch 1, 1 thread"]
    assert sized["memory_mib"] > sized["file_mib"] > 0


def test_what_cannot_be_timed_is_said(run, tmp_path):
    with pytest.raises(ValueError, match="must be the folder of a run with a baseline, student"):
        deploy(tmp_path)
    assert {"onnxruntime", "torch"} <= set(at_hand())


def test_networks_without_a_size_ask_for_it(run, tmp_path):
    network = Network.load(run / "student.safetensors")
    dataclasses.replace(network, card=None).save(tmp_path / "student.safetensors")
    with pytest.raises(ValueError, match="do not say the size of their images: give --height and --width"):
        deploy(tmp_path)


@pytest.mark.medium
def test_the_memory_is_that_of_a_process_without_torch(tmp_path):
    assert 10 < peak_memory_mib(onnx_file(tmp_path / "net.onnx"), (1, 3, 32, 16)) < 200
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="a process of its own must run .*none.onnx"):
        peak_memory_mib(tmp_path / "none.onnx", (1, 3, 32, 16))
