"""DARTS's search: what every search by gradient keeps to, and what its options do."""

from dataclasses import replace

import pytest
import torch

from nas.cli.arguments import parse_recipe_args
from nas.strategies import STRATEGIES
from nas.strategies.base import Objective, SearchResult
from nas.strategies.darts import DARTS, skips_by_cell
from nas.strategies.smooth_darts import SmoothDARTS
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam
from nas.training.stage import Stage
from runs.recipes.demo import toy
from search_spaces.architecture import parse_edge
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import Supernet
from search_spaces.space import SearchSpace
from students.reid import ReID
from tests.nas.strategies.toys import KDAS, Classify, Draw, Fit, Smooth


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
    "beta-decay": DARTS(epochs=3, alphas=Adam(lr=0.5), beta_decay=1.0),
    "adversarial": SmoothDARTS(epochs=3, alphas=Adam(lr=0.5), perturbed="adversarial", num_ascents=2),
}
ONE_CELL = ReID(backbone=Cells(channels=4, cells=1, reductions=()), num_ids=4, embedding_dim=6)
EACH_STEP = Machine(device="cpu", checkpoint_minutes=0.0)


@pytest.mark.parametrize("strategy", BY_GRADIENT.values(), ids=BY_GRADIENT)
class TestContract:
    """What every search by gradient keeps to."""

    def search(self, strategy: DARTS, stage: Stage, objective: Objective, seed: int = 0) -> SearchResult:
        torch.manual_seed(seed)
        return strategy.search(ONE_CELL, objective, stage)

    @pytest.mark.medium
    def test_a_search_killed_and_gone_on_with_is_a_whole_one(self, tmp_path, fabric, strategy):
        whole = self.search(strategy, Stage(tmp_path / "whole", "search", "", EACH_STEP, fabric), Mortal())
        for seed, die_at in ((0, 4), (1, 2)):
            with pytest.raises(KeyboardInterrupt):
                self.search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(die_at), seed)
        last = self.search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(), seed=2)
        assert last.history == whole.history and last.ranked == whole.ranked
        assert len(whole.history) == 3 and whole.history[0]["alphas"] != whole.history[2]["alphas"]

    @pytest.mark.medium
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


@pytest.mark.medium
@pytest.mark.parametrize(("name", "strategy"), STRATEGIES.items(), ids=STRATEGIES)
def test_a_name_on_the_command_line_puts_the_strategy_into_a_recipe(name, strategy):
    recipe, _ = parse_recipe_args(toy(), ["--strategy", name, "--strategy.num-ranked", "3"], "nas", "")
    epochs = toy().strategy.epochs if strategy.counts_like(toy().strategy) else strategy.epochs
    assert recipe.strategy == replace(strategy, epochs=epochs, num_ranked=3)


def test_an_unknown_name_is_said():
    with pytest.raises(ValueError, match="no strategy is named 'dart' .did you mean 'darts'"):
        parse_recipe_args(toy(), ["--strategy", "dart"], "nas", "")
    with pytest.raises(ValueError, match="--strategy needs a value, as --strategy VALUE; got none"):
        parse_recipe_args(toy(), ["--strategy"], "nas", "")


class TestSearch:
    def search(
        self, stage: Stage, objective: Objective | None = None, space: SearchSpace = KDAS, **options
    ) -> SearchResult:
        torch.manual_seed(0)
        return DARTS(**{"epochs": 3, "alphas": Adam(lr=0.5), **options}).search(space, objective or Classify(), stage)

    @pytest.mark.medium
    def test_same_seed_same_search(self, tmp_path, fabric):
        one, two = (self.search(Stage(tmp_path / name, "search", "", Machine(), fabric), epochs=2) for name in "ab")
        assert one.ranked == two.ranked and one.history == two.history
        assert one.history[0]["alphas"] != one.history[1]["alphas"]

    @pytest.mark.medium
    @pytest.mark.parametrize("order", [1, 2])
    def test_alphas_rest_while_warming_up(self, stage, order):
        found = self.search(stage, order=order, warmup_epochs=2)
        torch.manual_seed(0)
        start = Supernet.of(KDAS).alphas()
        assert [line["alphas"] == start for line in found.history] == [True, True, False]
        assert ["alpha" in line for line in found.history] == [False, False, True]
        assert [line["temperature"] for line in found.history] == [2.0, 1.0, 0.0]

    @pytest.mark.medium
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

    @pytest.mark.medium
    def test_alphas_follow_their_objective(self, stage):
        found = self.search(stage, Draw("sep3"))
        assert {parse_edge(edge)[0] for answer in found.best.decisions.values() for edge in answer} == {"sep3"}
        assert found.history[-1]["health"]["entropy"] < found.history[0]["health"]["entropy"]

    def test_minutes_are_a_budget(self, stage):
        found = DARTS(epochs=5, minutes=1e-6).search(ONE_CELL, Classify(), stage)
        assert [line["stopped"] for line in found.history] == ["it took 1e-06 minutes"]

    @pytest.mark.medium
    def test_collapse_ends_the_search(self, stage):
        found = self.search(stage, Draw("skip"), epochs=6, warmup_epochs=1, collapse_skips=3)
        assert len(found.history) == 2
        assert max(skips_by_cell(found.best).values()) >= 3

    def test_collapse_is_seen_where_each_edge_is_a_question(self, stage):
        space = ReID(backbone=NASBench201(channels=2, cells=1), num_ids=4, embedding_dim=6)
        found = self.search(stage, Draw("skip"), space, epochs=6, warmup_epochs=1, collapse_skips=3)
        assert [line.get("stopped") for line in found.history] == [None, "a predicted cell has 6 identities"]
        assert found.history[-1]["health"]["skip_share"] == 1.0

    @pytest.mark.medium
    def test_no_collapse_no_end(self, stage):
        assert len(self.search(stage, Draw("sep3"), epochs=4, collapse_skips=3).history) == 4

    @pytest.mark.medium
    def test_at_most_max_skips_are_found(self, stage):
        found = self.search(stage, Draw("skip"), max_skips=1, num_ranked=30)
        assert skips_by_cell(found.best) == {"backbone.normal": 1, "backbone.reduce": 1}
        assert found.history[-1]["predicted"] == found.best.hash

    @pytest.mark.medium
    def test_ranked_list_is_long_as_asked_and_best_first(self, stage):
        found = self.search(stage, num_ranked=7, epochs=1)
        scores = [score for score, _ in found.ranked]
        assert scores == sorted(scores, reverse=True) and len({a.hash for _, a in found.ranked}) == 7
        assert found.best.hash == found.history[-1]["predicted"]
        KDAS.check(found.best)

    @pytest.mark.medium
    def test_learning_rate_of_the_last_step_is_recorded(self, stage):
        history = self.search(stage, Draw("sep3", num_steps=4), epochs=2, weights=SGD(lr=0.3)).history
        assert [line["lr"] for line in history] == [0.3, 0.3]

    def test_the_alphas_must_rest_less_than_all_epochs(self):
        with pytest.raises(ValueError, match="warmup_epochs must be below epochs, 3, not 3"):
            DARTS(epochs=3, warmup_epochs=3)
