"""Compiled networks compute what they compute in eager code; what cannot be compiled says why, and is eager."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from nas.training import compiling
from nas.training.compiling import CACHE, Compiled, check_compiler, compile_network
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.cell import Cells


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to(dtype)


def step(net: nn.Module, seed: int) -> None:
    parameters = list(net.parameters())
    x = torch.randn(4, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x.to(parameters[0].dtype)
    gradients = torch.autograd.grad(net(x).square().mean(), parameters)
    with torch.no_grad():
        torch._foreach_sub_(parameters, gradients, alpha=0.1)


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return Stage(tmp_path, "retrain", "", Machine(device="cpu", compile=True))


@pytest.mark.medium
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_steps_are_those_of_eager_code_and_resume_to_the_bit(stage, capsys, dtype, tolerance):
    plain, whole, resumed = (network(dtype) for _ in range(3))
    stage.compile(whole)
    for seed in range(4):
        step(plain, seed)
        step(whole, seed)
        if seed == 1:
            resumed.load_state_dict(copy.deepcopy(whole.state_dict()))  # as from a checkpoint
    stage.compile(resumed)
    step(resumed, 2)
    step(resumed, 3)
    torch.testing.assert_close(dict(whole.state_dict()), dict(plain.state_dict()), rtol=tolerance, atol=tolerance)
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))
    assert capsys.readouterr().err.count("retrain: compiled in ") == 2


@pytest.mark.medium
def test_more_than_eight_cells_are_compiled(monkeypatch):
    """As often torch compiles one function before it gives up."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr(compiling, "Cell", nn.ReLU)
    net, said = nn.Sequential(*(nn.ReLU() for _ in range(10))), []
    compile_network(net, said.append)
    for part in net:
        part(torch.ones(2, requires_grad=True))
    assert len(said) == 1 and said[0].startswith("compiled in ")


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # which torch hides
def test_a_cell_is_one_graph(monkeypatch):
    """As far as torch's tracing goes: making code of it takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.manual_seed(0)
    plain = Cells(channels=4, cells=1, reductions=()).student().double()
    traced, said = copy.deepcopy(plain), []
    compile_network(traced, said.append)
    x = torch.randn(2, 3, 32, 16, dtype=torch.float64)
    found = [net(x)["map"] for net in (traced, plain)]
    assert len(said) == 1 and said[0].startswith("compiled in ")
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(y.square().mean(), list(net.parameters()))
        for y, net in zip(found, (traced, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(dict(traced.state_dict()), dict(plain.state_dict()), rtol=1e-12, atol=1e-12)


class Breaks(nn.Module):
    """Asks for a number in the midst of its work."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 0 else x


def test_what_is_no_single_graph_is_eager_and_says_why(stage, capsys):
    net = Breaks()
    stage.compile(net)
    assert [net(torch.tensor([value])).item() for value in (1.0, -1.0, 3.0)] == [2.0, -1.0, 6.0]
    said = [line for line in capsys.readouterr().err.splitlines() if "compiled" in line]
    assert len(said) == 1 and "retrain: not compiled: " in said[0]


def test_evaluation_and_copies_are_eager(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda call, **how: lambda *args: asked.append(1) or call(*args))
    net, said = network(), []
    compile_network(net, said.append)
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    net.eval()(x)
    copy.deepcopy(net).train()(x)
    assert not asked and isinstance(net._compiled_call_impl, Compiled)
    net.train()(x)
    assert asked == [1]


def test_nothing_is_compiled_unasked(tmp_path):
    net = network()
    Stage(tmp_path, "retrain", "", Machine(device="cpu")).compile(net)
    assert net._compiled_call_impl is None


def test_a_compiler_that_is_missing_is_said_before_work_starts(monkeypatch):
    check_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"--machine\.compile needs a C\+\+ compiler, and there is no no-such-compile"):
        Machine(device="cpu", compile=True).check()
