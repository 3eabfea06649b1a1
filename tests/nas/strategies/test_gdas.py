"""GDAS's draws against enumeration, its gradient against the formula, and that nothing else is computed."""

from collections import Counter
from itertools import product

import pytest
import torch

from nas.strategies.bilevel import Bilevel
from nas.strategies.gdas import GDAS
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import NONE, MixedOp
from students.reid import ReID
from tests.nas.strategies.toys import KDAS, Classify, Fit, Smooth, batch

IMAGES = batch(3, size=4, dtype=torch.float64).images


def drawn_supernet(space, spread=1.0, **options):
    torch.manual_seed(0)
    supernet = GDAS(**options).supernet(space).double()
    with torch.no_grad():
        supernet.alpha.normal_(std=spread)
    return supernet


def run(path, supernet, x):
    """The smooth toy with the operations of `path` alone, each behind a weight."""
    first, last = supernet.net.first.ops[path[0][0]], supernet.net.last.ops[path[1][0]]
    return path[1][1] * last(path[0][1] * first(x.flatten(1) / 20))


@pytest.mark.medium
def test_the_mean_over_draws_is_the_sum_over_all_networks():
    supernet, x = drawn_supernet(Smooth(), folded=False), IMAGES
    with torch.no_grad():
        first, last = supernet.weights()
        networks = {
            path: (first[path[0]] * last[path[1]], run([(p, 1.0) for p in path], supernet, x))
            for path in product(range(2), range(3))
        }
        expected = sum(share * output for share, output in networks.values())
        draws = torch.stack([supernet(x) for _ in range(3000)])
    assert all(any(torch.equal(draw, output) for _, output in networks.values()) for draw in draws[:100])
    standard_error = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - expected).abs() < 4 * standard_error).all()
    assert standard_error.max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.3])
def test_the_gradient_is_that_of_the_drawn_candidates_softmax_weight(tau):
    supernet = drawn_supernet(Smooth(), folded=False)
    supernet.tau = tau
    torch.manual_seed(5)
    (supernet(IMAGES) ** 2).sum().backward()
    torch.manual_seed(5)
    noise = -torch.empty(2, 3).exponential_().log()
    expected, path = torch.zeros(2, 3, dtype=torch.float64), []
    for row, size in enumerate((2, 3)):
        soft = torch.softmax((supernet.alpha.detach()[row, :size].log_softmax(0) + noise[row, :size]) / tau, dim=0)
        path.append((int(soft.argmax()), torch.ones((), dtype=torch.float64, requires_grad=True)))
        k, weight = path[row][0], soft[path[row][0]]
        for j in range(size):
            expected[row, j] = weight * (float(j == k) - soft[j]) / tau
    slopes = torch.autograd.grad((run(path, supernet, IMAGES) ** 2).sum(), [weight for _, weight in path])
    torch.testing.assert_close(supernet.alpha.grad, expected * torch.stack(slopes)[:, None], rtol=1e-10, atol=1e-12)


def test_only_drawn_operations_run():
    supernet = drawn_supernet(KDAS, spread=1000.0)  # far above the noise: the strongest are drawn
    ran: Counter = Counter()
    for name, mixed in supernet.named_modules():
        for place, op in enumerate(mixed.ops) if isinstance(mixed, MixedOp) else ():
            op.scaled = lambda *inputs, key=(name, place), own=op.scaled: ran.update([key]) or own(*inputs)
    supernet(IMAGES)
    strongest = supernet.weights().argmax(dim=1).tolist()
    names = list(supernet.options.values())
    mixed = {name: m.row for name, m in supernet.named_modules() if isinstance(m, MixedOp)}
    wanted = {(name, strongest[row]): 1 for name, row in mixed.items() if names[row][strongest[row]] != NONE}
    assert ran == wanted and len(wanted) < len(mixed)


def test_a_network_of_zeros_alone_has_the_maps_of_any_other():
    supernet = drawn_supernet(KDAS, spread=0.0)
    with torch.no_grad():
        supernet.alpha[:, supernet.options["backbone.normal.2<0"].index(NONE)] = 1000.0
    before = {name: value.clone() for name, value in supernet.state_dict().items() if ".ops." in name}
    maps = supernet(IMAGES).maps["map"]
    assert maps.shape == KDAS.student().double()(IMAGES).maps["map"].shape and not maps.any()
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_tau_falls_and_is_in_the_history(tmp_path):
    stage = Stage(tmp_path, "search", "", Machine(device="cpu"))
    torch.manual_seed(0)
    found = GDAS(epochs=3).search(Smooth(), Fit(num_steps=1), stage)
    assert [line["tau"] for line in found.history] == pytest.approx([10.0, 5.05, 0.1])
    assert found.history[0]["alphas"] != found.history[-1]["alphas"]


@pytest.mark.parametrize("wrong", [{"order": 2}, {"eigenvalue_every": 1}])
def test_second_derivatives_of_a_draw_are_refused(wrong):
    with pytest.raises(ValueError, match="draws another network in each forward pass"):
        GDAS(**wrong)


def test_a_draw_that_no_alpha_reaches_moves_none(tmp_path):
    """NAS-Bench-201's cell may draw `none` on every edge: the loss is the same whatever the alphas."""
    strategy = GDAS(epochs=1)
    supernet = strategy.supernet(ReID(backbone=NASBench201(channels=2, cells=1), num_ids=4, embedding_dim=6))
    with torch.no_grad():
        for row, options in zip(supernet.alpha, supernet.options.values(), strict=True):
            row[options.index("none")] = 1e4
    before = supernet.alpha.detach().clone()
    stage = Stage(tmp_path, "search", "", Machine(device="cpu"))
    bilevel = Bilevel(strategy, supernet, Classify(), stage)
    weights = bilevel.weights[0].detach().clone()
    bilevel.weight_step(batch(0), 0)
    assert not torch.equal(weights, bilevel.weights[0])
    bilevel.alpha_optimiser.param_groups[0]["weight_decay"] = 0.0
    bilevel.alpha_step(batch(0), batch(1), 0)
    assert torch.equal(supernet.alpha, before)
