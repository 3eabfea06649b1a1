"""FairDARTS's gates: what they weigh, what the zero-one loss does to them, and what derives from them."""

import math

import pytest
import torch

from nas.strategies.fair_darts import FairDARTS, zero_one_loss
from nas.training.optimisers import Adam
from search_spaces.architecture import parse_edge
from search_spaces.derive import derive
from search_spaces.relaxed import NONE
from tests.nas.strategies.toys import KDAS, Fit, Smooth, batch


def fair_supernet(space, **options):
    torch.manual_seed(0)
    supernet = FairDARTS(**options).supernet(space).double()
    with torch.no_grad():
        supernet.alpha.normal_(std=2.0)
    return supernet


def test_each_candidate_has_a_sigmoid_of_its_own():
    supernet, x = fair_supernet(Smooth()), batch(3, dtype=torch.float64).images
    gates = [[1 / (1 + math.exp(-a)) for a in row] for row in supernet.alpha.tolist()]
    y = sum(gate * op(x.flatten(1) / 20) for gate, op in zip(gates[0], supernet.net.first.ops, strict=False))
    expected = sum(gate * op(y) for gate, op in zip(gates[1], supernet.net.last.ops, strict=True))
    torch.testing.assert_close(supernet(x), expected, rtol=1e-12, atol=1e-12)
    assert supernet.weights()[supernet.absent].tolist() == [0.0]


def test_folded_or_not_it_is_the_same():
    """The merged form of cells takes gates as it takes softmax weights."""
    outputs = []
    for folded in (True, False):
        supernet = fair_supernet(KDAS, folded=folded)
        out = supernet(batch(3, dtype=torch.float64).images).logits
        out.square().sum().backward()
        outputs.append((out, supernet.alpha.grad))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_the_gradient_of_the_zero_one_loss():
    alpha = torch.randn(7, dtype=torch.float64, requires_grad=True)
    loss = zero_one_loss(torch.sigmoid(alpha))
    (gradient,) = torch.autograd.grad(loss, alpha)
    gates = [1 / (1 + math.exp(-a)) for a in alpha.tolist()]
    assert loss.item() == pytest.approx(-sum((g - 0.5) ** 2 for g in gates) / 7, rel=1e-12)
    assert gradient.tolist() == pytest.approx([-2 * (g - 0.5) * g * (1 - g) / 7 for g in gates], rel=1e-12)


def test_padding_is_no_gate_to_drive():
    supernet = fair_supernet(Smooth())
    penalty = FairDARTS(zero_one=3.0).penalties(supernet, 0)["zero_one"]
    gates = torch.sigmoid(supernet.alpha.detach()).flatten()[~supernet.absent.flatten()]
    assert len(gates) == 5 and penalty.item() == pytest.approx(-3.0 * (gates - 0.5).square().mean().item())


def test_the_strongest_gates_are_derived_whatever_stands_beside_them():
    supernet = fair_supernet(KDAS)
    for node, edges in derive(supernet).decisions.items():
        rows, keep = supernet.nodes[node]
        best = {
            source: max((w, op) for op, w in supernet.alphas()[row].items() if op != NONE)
            for source, row in rows.items()
        }
        kept = sorted(best, key=lambda source: best[source][0])[-keep:]
        assert {parse_edge(edge)[1]: parse_edge(edge)[0] for edge in edges} == {s: best[s][1] for s in kept}


def test_alphas_can_be_set_from_gates():
    one, other = fair_supernet(Smooth()), fair_supernet(Smooth())
    with torch.no_grad():
        other.alpha.zero_()
    other.set_alphas(one.alphas())
    torch.testing.assert_close(other.weights(), one.weights(), rtol=1e-5, atol=1e-7)
    other.set_alphas({"first": {"tanh": 1.0, "sigmoid": 0.0}})
    assert other.alphas()["first"] == {"tanh": 1.0, "sigmoid": 0.0} and torch.isfinite(other.alpha).all()


def test_the_zero_one_loss_drives_gates_to_an_end(stage, tmp_path):
    ends = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        strategy = FairDARTS(epochs=12, alphas=Adam(lr=0.2), zero_one=weight)
        found = strategy.search(Smooth(), Fit(), type(stage)(tmp_path / str(weight), "search", "", stage.machine))
        gates = [gate for options in found.history[-1]["alphas"].values() for gate in options.values()]
        ends.append(min(abs(gate - 0.5) for gate in gates))
    assert ends[1] > ends[0] and ends[1] > 0.2
    assert set(found.history[0]["alpha"]) == {"total", "zero_one"}
