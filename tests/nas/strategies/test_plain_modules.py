"""A candidate may be any module with `out_channels`: strategies search a space of such, and name one that has none."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from nas.stages.search import check_search
from nas.strategies import STRATEGIES
from nas.strategies.base import Score
from nas.strategies.darts import DARTS
from nas.strategies.discrete import DiscreteSearch
from nas.study.place import Store
from nas.study.searching import search_by_trials
from runs.recipes.demo import toy
from search_spaces.relaxed import States, Supernet
from search_spaces.space import SearchSpace
from students.reid import ReID
from tests.nas.strategies.toys import Classify


class Block(nn.Sequential):
    """A convolution, which keeps the shape, and a curve."""

    def __init__(self, channels, kernel, curve):
        super().__init__(nn.Conv2d(channels, channels, kernel, padding=kernel // 2), nn.BatchNorm2d(channels), curve)
        self.out_channels = channels


class Silent(nn.Identity):
    """No candidate: it does not say its channels."""


class PlainNet(nn.Module):
    def __init__(self, pick, c_in, channels, last):
        super().__init__()
        makers = {
            "tanh": lambda: Block(channels, 3, nn.Tanh()),
            "relu": lambda: Block(channels, 1, nn.ReLU(inplace=True)),
            "conv": lambda: nn.Conv2d(channels, channels, 1),
        }
        self.stem = nn.Conv2d(c_in, channels, 3, 4)
        self.op = pick.op("op", makers)
        self.node = pick.edges("node", {0: makers, 1: makers | {"last": lambda: last(channels)}}, keep=1)
        self.out_channels = channels

    def forward(self, x):
        stem = self.stem(x)
        return {"map": self.node(States([stem, self.op(stem)]))}


@dataclass(frozen=True, kw_only=True)
class Plain(SearchSpace):
    channels: int = 4
    silent: bool = False

    def build(self, pick, c_in=3):
        last = Silent if self.silent else lambda channels: Block(channels, 5, nn.Sigmoid())
        return PlainNet(pick, c_in, self.channels, last)


class Measured(Classify):
    """Scores architectures, too: by the outputs of a network with weights by chance."""

    def value(self, net):
        with torch.no_grad():
            return net(self.weight_batches(0)[0].images).embedding.mean().item()

    def cost(self, architecture):
        return 1.0

    def score(self, architecture, epochs, report=None):
        return Score(self.value(SPACE.student(architecture).eval()), 1.0, 1.0)


SPACE, SILENT = (ReID(backbone=Plain(silent=silent), num_ids=4, embedding_dim=6) for silent in (False, True))
NAMES = ("darts", "gdas", "pc_darts", "single_path", "random", "evolution")
SEARCHES = {name: STRATEGIES[name].small() for name in NAMES} | {"second order": DARTS(epochs=2, order=2)}


@pytest.mark.parametrize("strategy", SEARCHES.values(), ids=SEARCHES)
def test_a_space_of_plain_modules_is_searched(strategy, stage):
    torch.manual_seed(0)
    strategy.check(SPACE)
    if isinstance(strategy, DiscreteSearch):
        store = Store(str(stage.folder / "search.journal"))
        found = search_by_trials(strategy, SPACE, Measured(num_steps=1), stage, store)
    else:
        found = strategy.search(SPACE, Measured(num_steps=1), stage)
    for _, architecture in found.ranked:
        student = SPACE.student(architecture)
        assert student(torch.randn(2, 3, 32, 16)).embedding.shape == (2, 6)
    alphas = [line["alphas"] for line in found.history if "alphas" in line]
    assert not alphas or alphas[0] != alphas[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_candidate_without_channels_is_named_before_work(name):
    recipe = replace(toy(), space=replace(SILENT, num_ids=None), strategy=STRATEGIES[name].small())
    said = "the candidate 'last' of backbone.node<1 must have out_channels, .*; Silent has none: set self.out_channels"
    with pytest.raises(ValueError, match=f"^{said}, a whole number, in its __init__$"):
        check_search(recipe)


def test_a_supernet_names_it_too():
    with pytest.raises(ValueError, match="the candidate 'last' of backbone.node<1 must have out_channels"):
        Supernet.of(SILENT)
