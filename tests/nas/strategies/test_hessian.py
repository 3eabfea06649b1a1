"""The largest eigenvalue against exact ones, and the search that it ends."""

import math
from dataclasses import replace

import pytest
import torch

from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.strategies.hessian import has_grown, largest_eigenvalue
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.cell import Cells
from search_spaces.derive import derive
from search_spaces.relaxed import Supernet
from tests.nas.strategies.test_bilevel import bilevel_on, changed, without_counters
from tests.nas.strategies.toys import KDAS, Classify, Fit, Smooth


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path, "search", "", Machine(device="cpu"))


def symmetric(size, seed):
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a + a.T


@pytest.mark.parametrize("size", [1, 2, 7, 30, 200])
@pytest.mark.parametrize("shift", [0.0, -1000.0])
def test_the_largest_eigenvalue_of_any_symmetric_matrix(size, shift):
    matrix = symmetric(size, size) + shift * torch.eye(size)
    found = largest_eigenvalue(lambda v: matrix @ v, torch.empty(size, dtype=torch.float64))
    assert found == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item(), rel=1e-9)


def test_the_largest_eigenvalue_may_come_twice_and_all_may_be_zero():
    few = torch.diag(torch.tensor([3.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert largest_eigenvalue(lambda v: few @ v, torch.empty(8)) == pytest.approx(3.0, rel=1e-6)
    assert largest_eigenvalue(torch.zeros_like, torch.empty(2, 3)) == 0.0


def test_an_infinite_matrix_is_refused():
    with pytest.raises(ValueError, match="needs a finite Hessian"):
        largest_eigenvalue(lambda v: v * math.inf, torch.empty(4))


def exact_eigenvalue(bilevel: Bilevel, epoch: int) -> float:
    net, pictures = bilevel.supernet, bilevel.objective.alpha_batches(epoch)[0]

    def loss(alpha):
        def own(x):
            return torch.func.functional_call(net, {"alpha": alpha}, (x,))

        return bilevel.objective.alpha_loss(own, pictures, epoch)["total"]

    size = net.alpha.numel()
    hessian = torch.autograd.functional.hessian(loss, net.alpha.detach()).view(size, size)
    return torch.linalg.eigvalsh(hessian)[-1].item()


class Double(Fit):
    """Batches in double precision."""

    def alpha_batches(self, epoch, start=0):
        return [b._replace(images=b.images.double()) for b in super().alpha_batches(epoch, start)]


def test_a_searchs_eigenvalue_is_the_exact_one(stage):
    bilevel = bilevel_on(Smooth(), Double(), stage)
    exact = exact_eigenvalue(bilevel, 2)
    assert exact > 1e-3
    assert bilevel.eigenvalue(2) == bilevel.eigenvalue(2) == pytest.approx(exact, rel=1e-9)


def test_measuring_changes_nothing(stage):
    one_cell = replace(KDAS, backbone=Cells(channels=2, cells=1, reductions=()))
    bilevel = bilevel_on(one_cell, Classify(), stage, num_steps=1, dtype=torch.float32)
    before = without_counters(bilevel.supernet.state_dict())
    assert bilevel.eigenvalue(0) > 0
    assert changed(before, without_counters(bilevel.supernet.state_dict())) == set()
    assert all(p.requires_grad and p.grad is None for p in bilevel.supernet.parameters())


def test_growth_is_from_one_window_to_the_next():
    assert has_grown([9.0, 1.0, 1.0, 1.2, 1.5], window=2, factor=1.3)
    assert not has_grown([9.0, 1.0, 1.0, 1.2, 1.4], window=2, factor=1.3)
    assert not has_grown([1.0, 9.0, 9.0], window=2, factor=1.3)


@pytest.mark.parametrize("resumed", [False, True])
def test_growth_ends_the_search_and_the_alphas_of_before_are_derived_from(stage, monkeypatch, resumed):
    told = dict(enumerate([0.5, 8.0, 2.0, 1.0, 2.0, 3.0, 50.0]))
    monkeypatch.setattr(Bilevel, "eigenvalue", lambda self, epoch: told[epoch])
    strategy = DARTS(epochs=7, warmup_epochs=2, eigenvalue_every=1, eigenvalue_growth=1.5, eigenvalue_window=2)
    torch.manual_seed(0)
    found = strategy.search(Smooth(), Fit(), stage)
    if resumed:
        stage = Stage(stage.folder, "search", "", Machine(device="cpu"), stage.fabric)
        found = strategy.search(Smooth(), Fit(), stage)
    assert [line.get("eigenvalue") for line in found.history] == [None, None, 2.0, 1.0, 2.0, 3.0]
    assert "grown by 1.5: derived from epoch 3" in found.history[-1]["stopped"]
    at_3 = Supernet.of(Smooth())
    at_3.set_alphas(found.history[3]["alphas"])
    assert at_3.alphas() != found.history[-1]["alphas"]
    assert found.best == derive(at_3)
    assert found.ranked[0][0] == pytest.approx(sum(math.log(max(row.values())) for row in at_3.alphas().values()))


def test_alphas_come_back_from_their_softmax_weights():
    old, new = Supernet.of(Smooth()), Supernet.of(Smooth())
    with torch.no_grad():
        old.alpha.normal_(std=3.0)
    new.set_alphas(old.alphas())
    for name, row in old.alphas().items():
        assert new.alphas()[name] == pytest.approx(row, rel=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"eigenvalue_every": -1},
        {"eigenvalue_window": 0},
        {"eigenvalue_growth": 1.3},
        {"eigenvalue_growth": 1.0, "eigenvalue_every": 1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="eigenvalue"):
        DARTS(**wrong)
