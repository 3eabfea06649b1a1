"""DARTS's two steps against autograd and finite differences, on supernets of a moment."""

import copy
import math
import threading

import pytest
import torch
from torch import Tensor

from nas.strategies.base import Objective
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.training.gradients import gradients_of
from nas.training.optimisers import SGD, Adam
from nas.training.stage import Stage
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace
from students.reid import ReID
from tests.nas.strategies.toys import KDAS, Classify, Fit, Pictures, Smooth, batch

SECOND = DARTS(order=2, weights=SGD(lr=0.05, weight_decay=1e-2), clip=None)
LR = 0.1
PAIRS = {"kdas": (KDAS, Classify), "smooth": (Smooth(), Fit)}


def bilevel_on(
    space: SearchSpace,
    objective: Objective,
    stage,
    strategy: DARTS = SECOND,
    num_steps: int = 3,
    dtype: torch.dtype = torch.float64,
) -> Bilevel:
    """A search some steps old: alphas far from uniform, momentum in the weights' optimiser."""
    torch.manual_seed(0)
    supernet = Supernet.of(space).double()
    with torch.no_grad():
        supernet.alpha.normal_()
        if isinstance(space, ReID):
            supernet.net.classifier.weight.normal_()
    old = Bilevel(strategy, supernet, objective, stage)
    for step in range(num_steps):
        old.weight_step(batch(9, step, dtype=torch.float64), 0)
    new = Bilevel(strategy, supernet.to(dtype), objective, stage)
    new.weight_optimiser.load_state_dict(old.weight_optimiser.state_dict())
    return new


def exact_hypergradient(bilevel: Bilevel, train: Pictures, validation: Pictures, lr: float) -> Tensor:
    """By autograd alone, through the formula of one SGD step."""
    net, sgd = copy.deepcopy(bilevel.supernet), bilevel.strategy.weights
    own = dict(net.net.named_parameters(prefix="net"))
    buffers = [bilevel.weight_optimiser.state[w].get("momentum_buffer", 0.0) for w in bilevel.weights]

    def loss(weights, pictures):
        return bilevel.objective.loss(lambda x: torch.func.functional_call(net, weights, (x,)), pictures, 0)["total"]

    gradients = torch.autograd.grad(loss(own, train), list(own.values()), create_graph=True, materialize_grads=True)
    moved = {
        name: w - lr * (sgd.momentum * buffer + gradient + sgd.weight_decay * w)
        for (name, w), gradient, buffer in zip(own.items(), gradients, buffers, strict=True)
    }
    return torch.autograd.grad(loss(moved, validation), net.alpha)[0]


def error(found: Tensor, true: Tensor) -> float:
    return ((found - true).norm() / true.norm()).item()


@pytest.fixture(params=PAIRS)
def pair(request):
    space, objective = PAIRS[request.param]
    return space, objective()


class TestHypergradient:
    train, validation = batch(1, dtype=torch.float64), batch(2, dtype=torch.float64)

    @pytest.mark.medium
    @pytest.mark.parametrize("num_steps", [0, 3], ids=["first step", "with momentum"])
    def test_equals_autograd_through_a_weight_step(self, pair, stage, num_steps):
        bilevel = bilevel_on(*pair, stage, num_steps=num_steps)
        assert all(("momentum_buffer" in bilevel.weight_optimiser.state[w]) == bool(num_steps) for w in bilevel.weights)
        true = exact_hypergradient(bilevel, self.train, self.validation, LR)
        losses, [found] = bilevel.hypergradient(self.train, self.validation, 0, LR)
        assert error(found, true) < 1e-9
        assert found.shape == bilevel.supernet.alpha.shape and math.isfinite(losses["total"].item())

    @pytest.mark.medium
    def test_first_order_is_another_gradient(self, pair, stage):
        bilevel = bilevel_on(*pair, stage)
        true = exact_hypergradient(bilevel, self.train, self.validation, LR)
        _, [first] = bilevel._gradients(bilevel.objective.loss, self.validation, 0, [bilevel.supernet.alpha])
        assert error(first, true) > 1e-2

    def test_equals_differences_of_the_loss_after_the_optimisers_own_step(self, stage):
        bilevel = bilevel_on(Smooth(), Fit(), stage)
        _, [found] = bilevel.hypergradient(self.train, self.validation, 0, LR)
        alpha = bilevel.supernet.alpha.detach().clone()
        for group in bilevel.weight_optimiser.param_groups:
            group["lr"] = LR

        def loss_at(moved: Tensor) -> float:
            trial = copy.deepcopy(bilevel)
            with torch.no_grad():
                trial.supernet.alpha.copy_(moved)
            trial.weight_step(self.train, 0)
            return trial.objective.loss(trial.supernet, self.validation, 0)["total"].item()

        for place in (~bilevel.supernet.absent).nonzero().tolist():
            shift = torch.zeros_like(alpha)
            shift[tuple(place)] = 1e-5
            slope = (loss_at(alpha + shift) - loss_at(alpha - shift)) / 2e-5
            assert found[tuple(place)].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)

    @pytest.mark.medium
    def test_is_right_at_single_precision_too(self, stage):
        double, single = (bilevel_on(KDAS, Classify(), stage, dtype=dtype) for dtype in (torch.float64, torch.float32))
        _, [true] = double.hypergradient(self.train, self.validation, 0, LR)
        _, [found] = single.hypergradient(
            *(Pictures(b.images.float(), b.labels) for b in (self.train, self.validation)), 0, LR
        )
        assert error(found.double(), true) < 1e-4

    def test_two_ranks_with_half_a_batch_each_get_the_gradient_of_the_whole(self, stage):
        halves = [[Pictures(b.images[i::2], b.labels[i::2]) for b in (self.train, self.validation)] for i in range(2)]
        whole = bilevel_on(Smooth(), Fit(), stage)
        _, [true] = whole.hypergradient(self.train, self.validation, 0, LR)
        ranks, found = Ranks(2), [None, None]

        def run(rank: int, bilevel: Bilevel) -> None:
            found[rank] = bilevel.hypergradient(*halves[rank], 0, LR)[1][0]

        bilevels = [bilevel_on(Smooth(), Fit(), stage) for _ in range(2)]
        for rank, bilevel in enumerate(bilevels):
            bilevel.stage = ranks.stage(stage, rank)
        threads = [threading.Thread(target=run, args=pair) for pair in enumerate(bilevels)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert error(found[0], true) < 1e-9 and torch.equal(found[0], found[1])

    def test_needs_sgd(self):
        with pytest.raises(ValueError, match="order=2 differentiates through a step of SGD"):
            DARTS(order=2, weights=Adam(lr=0.1))


class Ranks:
    """Threads that average their gradients as processes do."""

    def __init__(self, num_ranks: int) -> None:
        self.meet = threading.Barrier(num_ranks, timeout=20)
        self.given: list = [None] * num_ranks

    def stage(self, stage: Stage, rank: int) -> Stage:
        def mean(gradients: list[Tensor]) -> list[Tensor]:
            self.given[rank] = gradients
            self.meet.wait()
            result = [torch.stack(parts).mean(dim=0) for parts in zip(*self.given, strict=True)]
            self.meet.wait()
            return result

        stage = copy.copy(stage)
        stage.mean = mean
        stage.gradients = lambda total, of: mean(gradients_of(total, of))
        return stage


def without_counters(state: dict) -> dict:
    """BatchNorm counts its forward passes, which nothing reads."""
    return {name: value.clone() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def changed(before: dict, after: dict) -> set[str]:
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


class TestSteps:
    train, validation = batch(1), batch(2)

    @pytest.fixture(params=[1, 2])
    def bilevel(self, request, stage):
        strategy = DARTS(order=request.param, clip=None)
        return bilevel_on(KDAS, Classify(), stage, strategy, dtype=torch.float32)

    def test_alpha_step_changes_the_alphas_alone(self, bilevel):
        bilevel.supernet.train()
        before = without_counters(bilevel.supernet.state_dict())
        momenta = [bilevel.weight_optimiser.state[w]["momentum_buffer"].clone() for w in bilevel.weights]
        bilevel.alpha_step(self.train, self.validation, 0)
        assert changed(before, without_counters(bilevel.supernet.state_dict())) == {"alpha"}
        after = [bilevel.weight_optimiser.state[w]["momentum_buffer"] for w in bilevel.weights]
        assert all(map(torch.equal, momenta, after))

    def test_weight_step_changes_weights_and_statistics_alone(self, bilevel):
        bilevel.supernet.train()
        before = without_counters(bilevel.supernet.state_dict())
        bilevel.weight_step(self.train, 0)
        after = without_counters(bilevel.supernet.state_dict())
        assert changed(before, after) == {"net"}
        assert not torch.equal(before["net.neck.running_mean"], after["net.neck.running_mean"])

    @pytest.mark.medium
    def test_each_step_asks_for_its_own_gradients(self, bilevel):
        bilevel.objective.asked.clear()
        bilevel.weight_step(self.train, 0)
        bilevel.alpha_step(self.train, self.validation, 0)
        assert bilevel.objective.asked == (
            ["weights", "alpha"] if bilevel.strategy.order == 1 else ["weights", "both", "both"]
        )
        assert all(p.requires_grad and p.grad is None for p in bilevel.supernet.parameters())

    def test_weights_come_back_when_the_loss_fails_halfway(self, stage):
        class Failing(Classify):
            def alpha_loss(self, net, pictures, epoch):
                raise RuntimeError("out of memory")

        bilevel = bilevel_on(KDAS, Failing(), stage, dtype=torch.float32)
        before = without_counters(bilevel.supernet.state_dict())
        with pytest.raises(RuntimeError, match="out of memory"):
            bilevel.alpha_step(self.train, self.validation, 0)
        assert changed(before, without_counters(bilevel.supernet.state_dict())) == set()
        assert all(p.requires_grad for p in bilevel.supernet.parameters())

    def test_clipping_limits_the_weights_step(self, stage):
        strategy = DARTS(clip=1e-3, weights=SGD(lr=1.0, momentum=0.0, weight_decay=0.0))
        bilevel = bilevel_on(KDAS, Classify(), stage, strategy, num_steps=0)
        before = [w.detach().clone() for w in bilevel.weights]
        bilevel.weight_step(batch(1, dtype=torch.float64), 0)
        moved = torch.cat([(w - old).flatten() for w, old in zip(bilevel.weights, before, strict=True)]).norm()
        lr = bilevel.weight_optimiser.param_groups[0]["lr"]
        assert moved.item() == pytest.approx(1e-3 * lr, rel=1e-3)
