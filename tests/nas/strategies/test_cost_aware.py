"""Searches that a cost steers, by each strategy that has alphas."""

from math import prod
from pathlib import Path

import pytest
import torch

from nas.strategies.darts import DARTS
from nas.strategies.drnas import DrNAS
from nas.strategies.fair_darts import FairDARTS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from nas.strategies.smooth_darts import SmoothDARTS
from nas.training.machine import Machine
from nas.training.optimisers import Adam
from nas.training.stage import Stage
from search_spaces.architecture import all_edges, parse_edge
from search_spaces.cost.candidate_latency import CandidateLatency
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.relaxed import NONE, Supernet
from tests.nas.strategies.toys import Classify
from tests.search_spaces.cost.test_candidate_latency import TORCH, clock  # noqa: F401
from tests.search_spaces.cost.test_candidates import CELLS
from tests.search_spaces.test_relaxed import TwoNodes

STRATEGIES = {
    "darts": DARTS(),
    "pc_darts": PCDARTS(),
    "gdas": GDAS(),
    "fair_darts": FairDARTS(),
    "drnas": DrNAS(),
    "smooth_darts": SmoothDARTS(),
}


@pytest.mark.medium
@pytest.mark.parametrize("kind", STRATEGIES)
def test_every_strategy_expects_what_it_would_derive(kind):
    """Not what its own supernet does, which sees a part of the channels or one path."""
    costs = MultiplyAdds.counted(CELLS, 32, 16)
    supernet = STRATEGIES[kind].supernet(CELLS).double()
    with torch.no_grad():
        supernet.alpha.normal_()
    strengths, expected = supernet.strengths(), costs.fixed
    for rows, keep in supernet.nodes.values():
        offered = {source: [op for op in costs.of[row] if op != NONE] for source, row in rows.items()}
        answers = [
            [(op, rows[source]) for op, source in map(parse_edge, answer)] for answer in all_edges(offered, keep)
        ]
        weights = [prod(strengths[row][op] for op, row in answer) for answer in answers]
        totals = [sum(costs.of[row][op] for op, row in answer) for answer in answers]
        expected += sum(w * c for w, c in zip(weights, totals, strict=True)) / sum(weights)
    assert costs.expected(supernet).item() == pytest.approx(expected)


class Nothing(Classify):
    """An objective without any wish for the alphas, which dies in epoch `die_at`."""

    die_at = None

    def deployment(self):
        return TORCH

    def loss(self, net, pictures, epoch):
        return {"total": net(pictures.images)["map"].square().mean()}

    def alpha_loss(self, net, pictures, epoch):
        if epoch == self.die_at:
            raise KeyboardInterrupt
        return {"total": 0.0 * net.weights().sum()}


def search(folder, die_at=None, **options):
    stage = Stage(folder, "search", "", Machine(device="cpu"))
    torch.manual_seed(0)
    objective = Nothing(num_steps=4)
    objective.die_at = die_at
    alphas = Adam(lr=0.2, weight_decay=0.0)
    return DARTS(epochs=10, alphas=alphas, **options).search(TwoNodes(), objective, stage)


class TestMultiplyAdds:
    costs = MultiplyAdds.counted(TwoNodes(), 32, 16)

    @pytest.mark.medium
    def test_a_weight_alone_makes_the_network_cheap(self, tmp_path):
        found = search(tmp_path, cost_weight=1e4)
        first, last = (found.history[i]["multiply_adds"] for i in (0, -1))
        fewest, most = self.costs.bounds()
        assert last["expected"] < first["expected"] / 4 and last["expected"] < most / 10
        assert last["predicted"] == fewest == self.costs.real(found.best)
        assert found.history[-1]["alpha"]["total"] == found.history[-1]["alpha"]["price"] > 0
        assert found.notes["cost"] == {"multiply_adds": {**last, "real": fewest}}

    @pytest.mark.medium
    def test_a_target_is_come_near(self, tmp_path):
        target = 3 * sum(self.costs.bounds()) / 4
        found = search(tmp_path, cost_weight=1.0, target_multiply_adds=target)
        assert self.costs.expected(Supernet.of(TwoNodes())).item() < target / 2
        assert found.history[-1]["multiply_adds"]["expected"] == pytest.approx(target, rel=0.1)


class TestLatency:
    @pytest.mark.medium
    def test_a_weight_alone_makes_the_network_fast(self, tmp_path, clock):  # noqa: F811
        found = search(tmp_path, cost="latency_ms", cost_weight=1.0)
        first, last = (found.history[i]["latency_ms"] for i in (0, -1))
        least, most = CandidateLatency.measured(TwoNodes(), 32, 16, Nothing(num_steps=4).deployment()).bounds()
        assert least < last["expected"] < first["expected"] < most
        assert last["predicted"] == pytest.approx(least)
        noted = found.notes["cost"]
        assert noted["latency_ms"]["real"] == pytest.approx(least) and noted["latency_ms"].items() >= last.items()
        assert noted["multiply_adds"]["real"] == MultiplyAdds.counted(TwoNodes(), 32, 16).real(found.best)

    @pytest.mark.medium
    def test_a_search_gone_on_with_keeps_its_cost(self, tmp_path, clock):  # noqa: F811
        options = {"cost": "latency_ms", "cost_weight": 1.0, "target_latency_ms": 15.0}
        whole = search(tmp_path / "whole", **options)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "killed", die_at=5, **options)
        clock.per_layer *= 3
        last = search(tmp_path / "killed", **options)
        assert last.history == whole.history and last.ranked == whole.ranked
        assert last.notes["cost"]["latency_ms"]["real"] > whole.notes["cost"]["latency_ms"]["real"]

    @pytest.mark.medium
    def test_a_table_at_hand_changes_nothing_else(self, tmp_path, clock):  # noqa: F811
        options = {"cost": "latency_ms", "cost_weight": 1.0, "latency_table": tmp_path / "table.json"}
        measuring, reading = search(tmp_path / "a", **options), search(tmp_path / "b", **options)
        assert measuring.history == reading.history and not (tmp_path / "b" / "latency.json").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"target_multiply_adds": 1e9}, "cost_weight must be above 0 where target_multiply_adds is given, not 0.0"),
        ({"cost": "latency_ms", "target_latency_ms": 2.0}, "cost_weight must be above 0 where target_latency_ms is"),
        ({"cost": "latency_ms"}, "needs a cost_weight above 0"),
        (
            {"cost_weight": 1.0, "target_latency_ms": 2.0},
            "target_latency_ms needs cost='latency_ms', not 'multiply_adds'",
        ),
        ({"latency_table": Path("table.json")}, "latency_table needs cost='latency_ms'"),
        (
            {"cost": "latency_ms", "cost_weight": 1.0, "target_multiply_adds": 1e9},
            "target_multiply_adds needs cost='multiply_adds', not 'latency_ms'",
        ),
    ],
)
def test_contradictory_settings_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        DARTS(**wrong)
