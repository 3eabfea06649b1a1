"""Every runtime that is here runs what is deployed, and says what its times hold for."""

import builtins

import onnxruntime
import pytest
import torch
from torch import nn

from nas.models.network import FeatureNet
from nas.models.runtimes import PROVIDERS, OnnxRuntime, OpenVINO, runtime_named
from search_spaces.cell import Cells
from search_spaces.cost.candidate_latency import CandidateLatency
from search_spaces.cost.latency import Deployment, latency
from search_spaces.deploy import deploy
from students.reid import ReID

SPACE = ReID(backbone=Cells(channels=4, cells=2, reductions=(2,)), num_ids=3, embedding_dim=8)
HERE = ["onnxruntime", "openvino", "torch", pytest.param("torch-compile", marks=pytest.mark.medium)]


@pytest.mark.parametrize("name", HERE)
def test_a_runtime_says_what_the_network_says(name):
    torch.manual_seed(0)
    net, images = FeatureNet(SPACE.student()).eval(), torch.randn(2, 3, 32, 16)
    answer = runtime_named(name).prepare(deploy(net, images), images)()
    found = next(iter(answer.values())) if name == "openvino" else answer[0] if name == "onnxruntime" else answer
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), net(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_times_come_with_what_they_hold_for(name):
    runtime = runtime_named(name)
    timing = latency(FeatureNet(SPACE.student()), 32, 16, runtime, batch_size=2, num_warmup=1, num_runs=5)
    assert 0 < timing.low <= timing.median <= timing.high and timing.processor > 0
    held = runtime.conditions()
    assert pytest.importorskip(name).__version__.partition("-")[0].partition("+")[0] in held.runtime
    assert held.threads == torch.get_num_threads() and held.device and held.precision == "fp32"


@pytest.mark.medium
def test_a_table_of_onnx_runtime_ranks_networks_as_their_sums(tmp_path):
    """No clock of a busy machine is exact: only that what is more work takes longer."""
    table = CandidateLatency.measured(SPACE, 64, 32, Deployment(runtime=OnnxRuntime(), part=FeatureNet), num_rounds=10)
    row = table.of["backbone.normal.2<0"]
    assert row["skip"] < row["sep3"] and row["none"] == 0 and 0 < table.fixed < table.bounds()[1]


def test_a_runtime_that_is_not_here_is_named_before_work():
    here = onnxruntime.get_available_providers()
    for name in [name for name, provider in PROVIDERS.items() if provider not in here]:
        with pytest.raises(ValueError, match=f"the runtime {name} needs ONNX Runtime's {PROVIDERS[name]}"):
            runtime_named(name)


def test_a_package_that_is_not_here_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args):
        if name == "openvino":
            raise ImportError("No module named 'openvino'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"needs the package openvino .*pip install 'nas-reid\[deploy\]'"):
        runtime_named("openvino")


class Sorts(nn.Module):
    """Has an operation that ONNX lacks."""

    def forward(self, x):
        return torch.linalg.svdvals(x.mean(dim=1))


@pytest.mark.parametrize("runtime", [OnnxRuntime(), OpenVINO()], ids=str)
def test_what_onnx_has_no_operation_for_is_refused(runtime):
    with pytest.raises(ValueError, match="what ONNX .* has operations for: .*svd"):
        latency(Sorts(), 32, 16, runtime)
