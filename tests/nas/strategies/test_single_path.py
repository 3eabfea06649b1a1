"""Single-path search: which paths are drawn and trained, what shared weights say, and what survives a kill."""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import nn
from torch.nn import functional as F

from nas.strategies.base import Score
from nas.strategies.single_path import Shared, SinglePath, correlation, dealt, statistics_of
from nas.training.machine import Machine
from nas.training.optimisers import SGD
from nas.training.stage import Stage
from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import MixedOp
from search_spaces.resnet import ResNet
from students.reid import ReID

CELLS = ReID(backbone=Cells(channels=3, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)
SPACES = {
    "cells": CELLS,
    "nas_bench_201": ReID(backbone=NASBench201(channels=2, cells=1, num_stages=2), num_ids=4, embedding_dim=6),
    "resnet": ReID(backbone=ResNet(width=1 / 16), num_ids=4, embedding_dim=6),
    "mobilenet_v2": ReID(backbone=MobileNetV2(width=0.1), num_ids=4, embedding_dim=6),
}
BRIEF = SinglePath(epochs=2, trials=5, population=2, sample=1, recalibration=2, weights=SGD(lr=0.05))


@dataclass(frozen=True)
class Pictures:
    images: torch.Tensor
    labels: torch.Tensor


def batch(*seed: int) -> Pictures:
    rng = torch.Generator().manual_seed(hash(seed))
    return Pictures(torch.randn(8, 3, 32, 16, generator=rng), torch.arange(4).repeat_interleave(2))


@dataclass
class Classify:
    """Cross-entropy on noise; the value is minus the loss in eval mode."""

    num_steps: int = 2
    dies_after: int = 1000
    valued: list[float] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)

    def weight_batches(self, epoch, start=0):
        return (batch(epoch, step) for step in range(start, self.num_steps))

    def loss(self, net, pictures, epoch):
        return {"total": F.cross_entropy(net(pictures.images).logits, pictures.labels)}

    def value(self, net):
        if len(self.valued) == self.dies_after:
            raise KeyboardInterrupt
        assert not net.training
        with torch.no_grad():
            self.valued.append(-self.loss(net, batch(99), 0)["total"].item())
        return self.valued[-1]

    def cost(self, architecture):
        return int(architecture.hash[:3], 16)

    def score(self, architecture, epochs, report=None):
        self.scored.append(epochs)
        return Score(self.cost(architecture) / 4096, self.cost(architecture), 1.0)

    def record(self, epoch):
        return {"temperature": 2.0 - epoch}


@pytest.fixture(scope="module")
def fabric():
    return Machine(device="cpu").fabric()


@pytest.fixture
def stage(tmp_path, fabric):
    return Stage(tmp_path, "search", "", Machine(device="cpu", checkpoint_minutes=0.0), fabric)


def shared(space, stage, strategy=BRIEF) -> Shared:
    torch.manual_seed(0)
    return Shared(strategy, strategy.supernet(space), Classify(), stage, seed=5)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
class TestPaths:
    def test_a_drawn_path_is_an_architecture_of_the_space(self, space):
        supernet = BRIEF.supernet(space)
        for path in (*supernet.draw_fairly(np.random.default_rng(1)), supernet.draw(np.random.default_rng(0))):
            space.check(path)

    @pytest.mark.medium
    def test_a_path_computes_what_its_student_does(self, space, stage):
        """Both with the batch's own statistics: the student's BatchNorms scale by 1 at the start. A pool has none in a
        student's cell, so that no path here has a pool."""
        supernet = BRIEF.supernet(space).train()
        drawn = supernet.draw(np.random.default_rng(3)).decisions
        supernet.path = Architecture(
            "",
            {
                name: tuple(re.sub("max3|avg3", "sep3", edge) for edge in answer)
                if isinstance(answer, tuple)
                else answer
                for name, answer in drawn.items()
            },
        )
        student = space.student(supernet.path).train()
        pairs = zip(modules_in_use(supernet, batch(0).images), modules_in_use(student, batch(0).images), strict=True)
        with torch.no_grad():
            for module, twin in pairs:
                assert type(module) is type(twin)
                for parameter, other in zip(module.parameters(), twin.parameters(), strict=False):
                    other.copy_(parameter)
        images = batch(1).images
        torch.testing.assert_close(supernet(images).embedding, student(images).embedding, rtol=1e-4, atol=1e-5)

    def test_a_step_changes_the_path_alone(self, space, stage):
        work = shared(space, stage)
        before = {name: p.detach().clone() for name, p in work.supernet.net.named_parameters()}
        work.train(batch(0), 0, 0)
        weights = {name: p for name, p in work.supernet.net.named_parameters() if p.dim() > 1}
        used = {id(module.weight) for module in modules_in_use(work.supernet, batch(0).images)}
        on_path = {name for name, p in weights.items() if id(p) in used}
        changed = {name for name, p in weights.items() if not torch.equal(p, before[name])}
        assert changed and changed <= on_path and len(on_path) < len(weights)

    @pytest.mark.medium
    def test_the_whole_search(self, space, stage):
        torch.manual_seed(0)
        found = BRIEF.search(space, Classify(), stage)
        space.check(found.best)
        assert (
            len(found.history) == 7
            and found.history[0]["temperature"] == 2.0
            and found.ranked[0][0] >= found.ranked[-1][0]
        )
        assert found.front and found.score == "mAP with shared weights" and not found.notes


def modules_in_use(net: nn.Module, images: torch.Tensor) -> list[nn.Module]:
    """The convolutions and linear layers that a forward pass computes, in their order; the folded form does so without
    calling them."""
    seen: list[nn.Module] = []
    mixed = [module for module in net.modules() if isinstance(module, MixedOp)]
    for module in mixed:
        module.folded = False
    hooks = [
        module.register_forward_hook(lambda module, *_: seen.append(module))
        for module in net.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    for module in mixed:
        module.folded = True
    return seen


def test_every_answer_is_drawn_alike():
    """600 draws: the share of each operation on an edge that stays is within four deviations of its expectation."""
    supernet, rng = BRIEF.supernet(CELLS), np.random.default_rng(0)
    paths = [supernet.draw(rng) for _ in range(600)]
    node = "backbone.normal.4"
    edges = Counter(edge for path in paths for edge in path.decisions[node])
    sources = Counter(edge.partition("@")[2] for edge in edges.elements())
    for count in sources.values():
        assert abs(count / 600 - 2 / len(sources)) < 4 * (0.25 / 600) ** 0.5
    share = 2 / len(edges)
    assert len(edges) > 3 * len(sources) and all(
        abs(count / 600 - share) < 4 * (share / 600) ** 0.5 for count in edges.values()
    )


def test_fair_paths_hold_each_answer_equally_often():
    space = SPACES["nas_bench_201"]
    supernet = BRIEF.supernet(space)
    paths = supernet.draw_fairly(np.random.default_rng(0))
    assert len(paths) == 5
    for name in paths[0].decisions:
        assert sorted(path.decisions[name] for path in paths) == ["avg3", "conv1", "conv3", "none", "skip"]
    assert Counter(dealt(3, 7, np.random.default_rng(0)).tolist()).most_common()[-1][1] == 2


def test_a_fair_step_is_the_sum_over_its_paths(stage):
    """One step of SGD without momentum, against gradients taken path by path."""
    strategy = replace(BRIEF, fair=True, clip=None, weights=SGD(lr=0.1, momentum=0.0, weight_decay=0.0))
    work = shared(SPACES["nas_bench_201"], stage, strategy)
    before = [p.detach().clone() for p in work.parameters]
    expected = [torch.zeros_like(p) for p in work.parameters]
    for path in work.supernet.draw_fairly(np.random.default_rng((5, 1, 7))):
        work.supernet.path = path
        loss = work.objective.loss(work.supernet, batch(0), 0)["total"]
        for total, gradient in zip(
            expected, torch.autograd.grad(loss, work.parameters, materialize_grads=True), strict=True
        ):
            total += gradient
    work.train(batch(0), 1, 7)
    for own, old, gradient in zip(work.parameters, before, expected, strict=True):
        torch.testing.assert_close(own.detach(), old - 0.1 * gradient)


def test_statistics_are_the_mean_over_batches_and_given_back():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    net(torch.randn(4, 3, 5, 5))
    before = {name: value.clone() for name, value in net.state_dict().items() if "running" in name}
    batches = [torch.randn(4, 3, 5, 5) for _ in range(3)]
    maps = [net[0](images).transpose(0, 1).flatten(1) for images in batches]
    with statistics_of(net, batches):
        assert not net.training
        torch.testing.assert_close(net[1].running_mean, torch.stack([m.mean(1) for m in maps]).mean(0))
        torch.testing.assert_close(net[1].running_var, torch.stack([m.var(1) for m in maps]).mean(0))
    assert net[1].momentum == 0.1 and all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_the_value_of_a_path_does_not_depend_on_those_before(stage):
    work = shared(CELLS, stage)
    one, other = (work.supernet.draw(np.random.default_rng(seed)) for seed in range(2))
    values = [work.value(path) for path in (one, other, one)]
    assert values[0] == values[2] != values[1]


@pytest.mark.medium
@pytest.mark.parametrize("dies", ["training", "trials"])
def test_a_killed_search_goes_on_as_if_it_had_not_been(dies, tmp_path, fabric):
    def search(folder, objective):
        torch.manual_seed(0)
        stage = Stage(tmp_path / folder, "search", "", Machine(device="cpu", checkpoint_minutes=0.0), fabric)
        return BRIEF.search(CELLS, objective, stage)

    def dying(epoch, start=0):
        yield from islice(batches(epoch, start), 1 - epoch)
        raise KeyboardInterrupt

    whole = search("whole", Classify())
    killed = Classify(dies_after=3)
    if dies == "training":
        batches = killed.weight_batches
        killed.weight_batches = dying
    with pytest.raises(KeyboardInterrupt):
        search("killed", killed)
    resumed = search("killed", Classify())
    assert resumed.ranked == whole.ranked
    without = [{key: value for key, value in line.items() if key != "seconds"} for line in resumed.history]
    assert without == [{key: value for key, value in line.items() if key != "seconds"} for line in whole.history]


@pytest.mark.medium
def test_kendalls_tau_of_what_was_retrained(stage):
    torch.manual_seed(0)
    objective = Classify()
    found = replace(BRIEF, num_retrained=4, retrained_epochs=3).search(CELLS, objective, stage)
    assert objective.scored == [3] * 4
    pairs = [(line["inherited"], line["retrained"]) for line in found.history[7:]]
    assert len(pairs) == 4 and pairs[0][0] == found.ranked[0][0]
    assert found.notes == {
        "kendall_tau": pytest.approx(kendalltau(*zip(*pairs, strict=True)).statistic),
        "num_retrained": 4,
    }
    assert correlation([{"inherited": i, "retrained": -i} for i in range(3)])["kendall_tau"] == -1


@pytest.mark.medium
def test_minutes_are_a_budget_of_trials(stage):
    torch.manual_seed(0)
    found = replace(BRIEF, minutes=1e-6, num_retrained=2).search(CELLS, Classify(), stage)
    assert len(found.history) == 3 and found.history[2]["stopped"] == "it took 1e-06 minutes" and len(found.ranked) == 1


def test_widths_are_refused_by_name():
    space = ReID(backbone=MobileNetV2(other_widths=(0.5,)), num_ids=4)
    with pytest.raises(ValueError, match="a supernet cannot keep all of backbone"):
        BRIEF.check(space)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"trials": 0},
        {"recalibration": 0},
        {"sample": 9},
        {"num_retrained": 1},
        {"num_retrained": 6},
        {"minutes": 0.0},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match="must be"):
        replace(BRIEF, **wrong)
