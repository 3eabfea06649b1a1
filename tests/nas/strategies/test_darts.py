"""DARTS's two steps against autograd, finite differences and naive loops, on supernets of a moment."""

import copy
import math
import threading
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from nas.cli.arguments import parse_recipe_args
from nas.strategies import STRATEGIES
from nas.strategies.autograd import require_grad_only
from nas.strategies.base import Objective, SearchResult
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS, skips_by_cell
from nas.strategies.health import POOLS, health
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam
from nas.training.stage import Stage
from runs.recipes.demo import toy
from search_spaces.architecture import parse_edge
from search_spaces.cell import Cells
from search_spaces.derive import derive
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace
from students.losses import triplet
from students.reid import ReID

KDAS = ReID(backbone=Cells(channels=2, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)
SECOND = DARTS(order=2, weights=SGD(lr=0.05, weight_decay=1e-2), clip=None)
LR = 0.1


class Pictures(NamedTuple):
    images: Tensor
    labels: Tensor


def batch(*seed: int, size: int = 8, dtype: torch.dtype = torch.float32) -> Pictures:
    rng = torch.Generator().manual_seed(hash(seed))
    images = torch.randn(size, 3, 32, 16, generator=rng, dtype=torch.float64).to(dtype)
    return Pictures(images, torch.arange(4).repeat_interleave(size // 4))


@dataclass
class Classify:
    """An objective without a data set: cross-entropy and triplet loss on noise."""

    num_steps: int = 2
    asked: list[str] = field(default_factory=list)
    """Who wanted a gradient at each forward pass."""

    def weight_batches(self, epoch, start=0):
        return [batch(0, epoch, step) for step in range(start, self.num_steps)]

    def alpha_batches(self, epoch, start=0):
        return [batch(1, epoch, step) for step in range(start, self.num_steps)]

    def loss(self, net, pictures, epoch):
        if isinstance(net, nn.Module):
            wanted = {name == "alpha" for name, p in net.named_parameters() if p.requires_grad}
            self.asked.append({(True,): "alpha", (False,): "weights", (False, True): "both"}[tuple(sorted(wanted))])
        out = net(pictures.images)
        return {"total": F.cross_entropy(out.logits, pictures.labels) + triplet(out.embedding, pictures.labels)}

    alpha_loss = loss

    def record(self, epoch):
        return {"temperature": 2.0 - epoch}


class SmoothNet(nn.Module):
    """Two mixed operations of smooth functions on flat images."""

    def __init__(self, pick) -> None:
        super().__init__()
        self.first = pick.op(
            "first",
            {
                "tanh": lambda: Dense(3 * 32 * 16, 5, torch.tanh),
                "sigmoid": lambda: Dense(3 * 32 * 16, 5, torch.sigmoid),
            },
        )
        self.last = pick.op(
            "last",
            {
                "tanh": lambda: Dense(5, 4, torch.tanh),
                "softplus": lambda: Dense(5, 4, F.softplus),
                "linear": lambda: Dense(5, 4, lambda x: x),
            },
        )
        self.out_channels = 4

    def forward(self, x):
        return self.last(self.first(x.flatten(1) / 20))


class Dense(nn.Linear):
    def __init__(self, c_in, out_channels, curve) -> None:
        super().__init__(c_in, out_channels)
        self.out_channels, self.curve = out_channels, curve

    def forward(self, x):
        return self.curve(super().forward(x))


@dataclass(frozen=True)
class Smooth(SearchSpace):
    def build(self, pick, c_in=3):
        return SmoothNet(pick)


class Fit(Classify):
    """A smooth loss: a mean over the batch of a function of each picture alone."""

    def loss(self, net, pictures, epoch):
        return {"total": F.cross_entropy(3 * net(pictures.images), pictures.labels)}

    alpha_loss = loss


class Draw(Classify):
    """An objective that sees no picture: weights shrink, and the alphas go where `wanted` is."""

    def __init__(self, wanted: str, num_steps: int = 4) -> None:
        super().__init__(num_steps)
        self.wanted = wanted

    def loss(self, net, pictures, epoch):
        return {"total": sum(p.square().sum() for p in net.net.parameters())}

    def alpha_loss(self, net, pictures, epoch):
        chosen = [
            row[options.index(self.wanted)] for row, options in zip(net.weights(), net.options.values(), strict=True)
        ]
        return {"total": -torch.stack(chosen).sum()}


@pytest.fixture(scope="module")
def fabric():
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def stage(tmp_path, fabric):
    return Stage(tmp_path, "search", "", Machine(device="cpu"), fabric)


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

    @pytest.mark.parametrize("num_steps", [0, 3], ids=["first step", "with momentum"])
    def test_equals_autograd_through_a_weight_step(self, pair, stage, num_steps):
        bilevel = bilevel_on(*pair, stage, num_steps=num_steps)
        assert all(("momentum_buffer" in bilevel.weight_optimiser.state[w]) == bool(num_steps) for w in bilevel.weights)
        true = exact_hypergradient(bilevel, self.train, self.validation, LR)
        losses, [found] = bilevel.hypergradient(self.train, self.validation, 0, LR)
        assert error(found, true) < 1e-9
        assert found.shape == bilevel.supernet.alpha.shape and math.isfinite(losses["total"].item())

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


def test_only_gives_back_what_it_took_even_after_an_error():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    with pytest.raises(ZeroDivisionError), require_grad_only([net[1].weight], net):
        assert [p.requires_grad for p in net.parameters()] == [False, False, True, False]
        _ = 1 / 0
    assert [p.requires_grad for p in net.parameters()] == before


class Mortal(Classify):
    """Ends the process's life at its `die_at`-th step of the weights."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.die_at, self.num_losses = die_at, 0

    def loss(self, net, pictures, epoch):
        self.num_losses += 1
        if self.num_losses == self.die_at:
            raise KeyboardInterrupt
        return super().loss(net, pictures, epoch)


GRADIENT = {name: strategy for name, strategy in STRATEGIES.items() if isinstance(strategy, DARTS)}
BY_GRADIENT = {
    **{name: replace(strategy, epochs=3, alphas=Adam(lr=0.5)) for name, strategy in GRADIENT.items()},
    "second order": DARTS(epochs=3, order=2),
}
ONE_CELL = ReID(backbone=Cells(channels=4, cells=1, reductions=()), num_ids=4, embedding_dim=6)
EACH_STEP = Machine(device="cpu", checkpoint_minutes=0.0)


@pytest.mark.parametrize("strategy", BY_GRADIENT.values(), ids=BY_GRADIENT)
class TestContract:
    """What every search by gradient keeps to."""

    def search(self, strategy: DARTS, stage: Stage, objective: Objective, seed: int = 0) -> SearchResult:
        torch.manual_seed(seed)
        return strategy.search(ONE_CELL, objective, stage)

    def test_a_search_killed_and_gone_on_with_is_a_whole_one(self, tmp_path, fabric, strategy):
        whole = self.search(strategy, Stage(tmp_path / "whole", "search", "", EACH_STEP, fabric), Mortal())
        for seed, die_at in ((0, 4), (1, 2)):
            with pytest.raises(KeyboardInterrupt):
                self.search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(die_at), seed)
        last = self.search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(), seed=2)
        assert last.history == whole.history and last.ranked == whole.ranked
        assert len(whole.history) == 3 and whole.history[0]["alphas"] != whole.history[2]["alphas"]

    def test_what_is_found_can_be_built_and_is_in_order(self, stage, strategy):
        found = self.search(strategy, stage, Classify())
        scores = [score for score, _ in found.ranked]
        assert scores == sorted(scores, reverse=True) and len(scores) == strategy.num_ranked
        for _, architecture in found.ranked:
            ONE_CELL.check(architecture)
        assert found.best.hash == found.history[-1]["predicted"]

    def test_a_width_cannot_be_decided_by_gradient(self, stage, strategy):
        with pytest.raises(ValueError, match="strategy that samples|PC-DARTS takes a part"):
            strategy.search(ReID(backbone=MobileNetV2(other_widths=(0.5,)), num_ids=4), Classify(), stage)


@pytest.mark.parametrize(("name", "strategy"), STRATEGIES.items(), ids=STRATEGIES)
def test_a_name_on_the_command_line_puts_the_strategy_into_a_recipe(name, strategy):
    recipe, _ = parse_recipe_args(toy(), ["--strategy", name, "--strategy.num-ranked", "3"], "nas", "")
    epochs = toy().strategy.epochs if name in GRADIENT else strategy.epochs
    assert recipe.strategy == replace(strategy, epochs=epochs, num_ranked=3)


def test_an_unknown_name_is_said():
    with pytest.raises(ValueError, match="no strategy is named 'dart'; did you mean 'darts'"):
        parse_recipe_args(toy(), ["--strategy", "dart"], "nas", "")


class TestSearch:
    def search(
        self, stage: Stage, objective: Objective | None = None, space: SearchSpace = KDAS, **options
    ) -> SearchResult:
        torch.manual_seed(0)
        return DARTS(**{"epochs": 3, "alphas": Adam(lr=0.5), **options}).search(space, objective or Classify(), stage)

    def test_same_seed_same_search(self, tmp_path, fabric):
        one, two = (self.search(Stage(tmp_path / name, "search", "", Machine(), fabric), epochs=2) for name in "ab")
        assert one.ranked == two.ranked and one.history == two.history
        assert one.history[0]["alphas"] != one.history[1]["alphas"]

    @pytest.mark.parametrize("order", [1, 2])
    def test_alphas_rest_while_warming_up(self, stage, order):
        found = self.search(stage, order=order, warmup_epochs=2)
        torch.manual_seed(0)
        start = Supernet.of(KDAS).alphas()
        assert [line["alphas"] == start for line in found.history] == [True, True, False]
        assert ["alpha" in line for line in found.history] == [False, False, True]
        assert [line["temperature"] for line in found.history] == [2.0, 1.0, 0.0]

    def test_the_first_step_of_second_order_looks_ahead_of_the_weights_it_finds(self, stage):
        objective = Classify(num_steps=1)
        self.search(stage, objective, order=2, epochs=1)
        assert objective.asked == ["both", "both", "weights"]

    @pytest.mark.parametrize("order", [1, 2])
    def test_plain_modules_are_searched_folded_or_not(self, tmp_path, fabric, order):
        histories = []
        for folded in (True, False):
            torch.manual_seed(0)
            stage = Stage(tmp_path / str(folded), "search", "", Machine(device="cpu"), fabric)
            histories.append(DARTS(epochs=2, order=order, folded=folded).search(Smooth(), Fit(), stage).history)
        assert histories[0] == histories[1]
        assert histories[0][0]["alphas"] != histories[0][1]["alphas"]

    def test_alphas_follow_their_objective(self, stage):
        found = self.search(stage, Draw("sep3"))
        assert {parse_edge(edge)[0] for answer in found.best.decisions.values() for edge in answer} == {"sep3"}
        assert found.history[-1]["health"]["entropy"] < found.history[0]["health"]["entropy"]

    def test_minutes_are_a_budget(self, stage):
        found = DARTS(epochs=5, minutes=1e-6).search(ONE_CELL, Classify(), stage)
        assert [line["stopped"] for line in found.history] == ["it took 1e-06 minutes"]
        with pytest.raises(ValueError, match="minutes must be above 0"):
            DARTS(minutes=0.0)

    def test_collapse_ends_the_search(self, stage):
        found = self.search(stage, Draw("skip"), epochs=6, warmup_epochs=1, collapse_skips=3)
        assert len(found.history) == 2
        assert max(skips_by_cell(found.best).values()) >= 3

    def test_collapse_is_seen_where_each_edge_is_a_question(self, stage):
        space = ReID(backbone=NASBench201(channels=2, cells=1), num_ids=4, embedding_dim=6)
        found = self.search(stage, Draw("skip"), space, epochs=6, warmup_epochs=1, collapse_skips=3)
        assert [line.get("stopped") for line in found.history] == [None, "a predicted cell has 6 identities"]
        assert found.history[-1]["health"]["skip_share"] == 1.0

    def test_no_collapse_no_end(self, stage):
        assert len(self.search(stage, Draw("sep3"), epochs=4, collapse_skips=3).history) == 4

    def test_at_most_max_skips_are_found(self, stage):
        found = self.search(stage, Draw("skip"), max_skips=1, num_ranked=30)
        assert skips_by_cell(found.best) == {"backbone.normal": 1, "backbone.reduce": 1}
        assert found.history[-1]["predicted"] == found.best.hash

    def test_ranked_list_is_long_as_asked_and_best_first(self, stage):
        found = self.search(stage, num_ranked=7, epochs=1)
        scores = [score for score, _ in found.ranked]
        assert scores == sorted(scores, reverse=True) and len({a.hash for _, a in found.ranked}) == 7
        assert found.best.hash == found.history[-1]["predicted"]
        KDAS.check(found.best)

    def test_learning_rate_of_the_last_step_is_recorded(self, stage):
        history = self.search(stage, Draw("sep3", num_steps=4), epochs=2, weights=SGD(lr=0.3)).history
        assert [line["lr"] for line in history] == [0.3, 0.3]

    @pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": 3, "warmup_epochs": 3}, {"warmup_epochs": -1}])
    def test_impossible_epochs_are_refused(self, wrong):
        with pytest.raises(ValueError, match="epochs must be at least 1 and warmup_epochs less than that"):
            DARTS(**wrong)


@pytest.mark.parametrize("space", [KDAS, Smooth()], ids=["kdas", "smooth"])
def test_health_is_what_a_loop_over_decisions_gives(space):
    torch.manual_seed(3)
    supernet = Supernet.of(space)
    with torch.no_grad():
        supernet.alpha.normal_(std=2.0)
    predicted = derive(supernet)
    entropies, margins = [], []
    for options in supernet.alphas().values():
        weights = sorted(options.values())
        entropies.append(-sum(w * math.log(w) for w in weights) / math.log(len(weights)))
        margins.append(weights[-1] - weights[-2])
    edges = [parse_edge(e)[0] for a in predicted.decisions.values() if isinstance(a, tuple) for e in a]
    ops = edges or list(predicted.decisions.values())
    assert health(supernet, predicted) == pytest.approx(
        {
            "entropy": sum(entropies) / len(entropies),
            "margin": sum(margins) / len(margins),
            "skip_share": sum(op == "skip" for op in ops) / len(ops),
            "pool_share": sum(op in POOLS for op in ops) / len(ops),
        }
    )
