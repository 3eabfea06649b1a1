"""DARTS-PT's decisions against a brute-force loop, and searches that end with them."""

from dataclasses import replace
from itertools import combinations, product

import pytest
import torch

from nas.strategies import STRATEGIES
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.strategies.perturbation import Perturbation
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam
from nas.training.stage import Stage
from search_spaces.cell import Cells
from search_spaces.derive import derive
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.relaxed import NONE, Supernet, rows_of_edges
from students.reid import ReID
from tests.nas.strategies.toys import Classify, Fit, Smooth

EDGES = ReID(backbone=NASBench201(channels=4, cells=1, num_stages=1), num_ids=4, embedding_dim=6)
NODES = ReID(backbone=Cells(channels=4, cells=1, reductions=()), num_ids=4, embedding_dim=6)
GRADIENT = {
    name: replace(strategy, epochs=2, alphas=Adam(lr=0.5), selection="perturbation", tuning_epochs=2)
    for name, strategy in STRATEGIES.items()
    if isinstance(strategy, DARTS)
}
EACH_STEP = Machine(device="cpu", checkpoint_minutes=0.0)


def table_loss(supernet, wanted):
    """The sum of `wanted` of what has a weight above 0 in a decision, times that weight: nothing is computed."""

    def measure() -> float:
        weights = supernet.weights()
        return sum(
            wanted[name][option] * float(weights[row, place])
            for row, (name, options) in enumerate(supernet.options.items())
            for place, option in enumerate(options)
        )

    return measure


@pytest.mark.parametrize(
    ("name", "space"),
    [*product(GRADIENT, ("edges", "nodes")), *product([name for name in GRADIENT if name != "pc_darts"], ("smooth",))],
)
def test_what_is_chosen_is_what_a_loop_over_all_candidates_says(name, space):
    """Without a candidate the loss falls by its part: the best is the one whose part is the least."""
    space = {"edges": EDGES, "nodes": NODES, "smooth": Smooth()}[space]
    torch.manual_seed(0)
    supernet = GRADIENT[name].supernet(space)
    wanted = {
        row: dict(zip(options, torch.randn(len(options)).tolist(), strict=True))
        for row, options in supernet.options.items()
    }
    measure = table_loss(supernet, wanted)
    before = supernet.alphas()
    selection = Perturbation(supernet)
    expected: dict[str, object] = {}
    on_edges = rows_of_edges(supernet.nodes)
    for number in range(len(selection)):
        said = selection.decide(supernet, number, measure)
        ((question, losses),) = said.items()
        if question not in supernet.nodes:
            parts = {option: wanted[question][option] * before[question][option] for option in before[question]}
            if question in on_edges:
                del parts[NONE]
            expected[question] = min(parts, key=parts.get)
            assert losses.keys() == parts.keys()
            now = supernet.alphas()[question]
            assert now == {option: float(option == expected[question]) for option in now}
        else:
            rows, keep = supernet.nodes[question]
            parts = {source: wanted[row][expected[row]] for source, row in rows.items()}
            best = min(combinations(rows, keep), key=lambda kept: sum(parts[source] for source in kept))
            expected[question] = tuple(f"{expected[rows[source]]}@{source}" for source in best)
    assert derive(supernet).decisions == {
        question: answer for question, answer in expected.items() if question not in on_edges
    } | {
        node: tuple(f"{expected[row]}@{source}" for source, row in rows.items())
        for node, (rows, keep) in supernet.nodes.items()
        if keep == len(rows)
    }


def test_a_loss_without_a_candidate_is_that_of_the_supernet_with_a_zero_in_its_place(tmp_path):
    torch.manual_seed(0)
    stage = Stage(tmp_path, "search", "", Machine(device="cpu"))
    supernet = Supernet.of(Smooth())
    objective = Fit(num_steps=3)
    bilevel = Bilevel(DARTS(), supernet, objective, stage)
    selection = Perturbation(supernet)
    question = selection.questions[selection.order[0]]
    row = list(supernet.options).index(question)
    weights = [[*each] for each in supernet.weights().detach()]
    expected = {}
    for place, option in enumerate(supernet.options[question]):
        first, last = ([w if (r, p) != (row, place) else 0.0 for p, w in enumerate(weights[r])] for r in range(2))
        losses = []
        for pictures in objective.alpha_batches(1):
            x = pictures.images.flatten(1) / 20
            y = sum(w * op(x) for w, op in zip(first, supernet.net.first.ops, strict=False))
            z = sum(w * op(y) for w, op in zip(last, supernet.net.last.ops, strict=True))
            losses.append(torch.nn.functional.cross_entropy(3 * z, pictures.labels).item())
        expected[option] = sum(losses) / 3
    assert selection.decide(supernet, 0, lambda: bilevel.mean_alpha_loss(1))[question] == pytest.approx(expected)


class Mortal(Classify):
    """Ends the process's life at its `die_at`-th loss."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.die_at, self.num_losses = die_at, 0

    def loss(self, net, pictures, epoch):
        assert epoch < 2  # all that comes behind the search is like its epochs
        self.num_losses += 1
        if self.num_losses == self.die_at:
            raise KeyboardInterrupt
        return super().loss(net, pictures, epoch)

    alpha_loss = loss


def search(strategy, stage, objective, seed=0):
    torch.manual_seed(seed)
    return strategy.search(EDGES, objective, stage)


@pytest.mark.medium
@pytest.mark.parametrize("name", GRADIENT)
def test_a_search_killed_and_gone_on_with_is_a_whole_one(tmp_path, fabric, name):
    """Killed in the search, in a decision and in the tuning."""
    strategy, whole_life = GRADIENT[name], Mortal()
    whole = search(strategy, Stage(tmp_path / "whole", "search", "", EACH_STEP, fabric), whole_life)
    for seed, die_at in enumerate((5, whole_life.num_losses // 3, whole_life.num_losses // 3 - 1)):
        with pytest.raises(KeyboardInterrupt):
            search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(die_at), seed)
    last = search(strategy, Stage(tmp_path / "killed", "search", "", EACH_STEP, fabric), Mortal(), seed=9)
    assert last.history == whole.history and last.ranked == whole.ranked
    assert len(whole.history) == 2 + 5 * 2
    EDGES.check(whole.best)


@pytest.mark.medium
def test_alphas_rest_while_the_weights_are_tuned_at_a_rate_of_their_own(stage):
    strategy = replace(GRADIENT["darts"], weights=SGD(lr=0.5), tuning_rate=0.2)
    objective = Classify(num_steps=1)
    found = search(strategy, stage, objective)
    assert [line["lr"] for line in found.history] == pytest.approx([0.5] * 2 + [0.1] * 10)
    assert ["alpha" in line for line in found.history] == [True] * 2 + [False] * 10
    assert ["loss_without" in line for line in found.history] == [False, True] + [False, True] * 5
    assert len(found.ranked) == 1 and found.best.hash == found.history[-1]["predicted"]
    decided = [next(iter(line["loss_without"].items())) for line in found.history if "loss_without" in line]
    assert found.best.decisions == {question: max(losses, key=losses.get) for question, losses in decided}


@pytest.mark.parametrize(
    "wrong", [{"max_skips": 2}, {"collapse_skips": 2}, {"eigenvalue_growth": 1.3, "eigenvalue_every": 1}]
)
def test_what_would_forestall_it_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be None where selection is by perturbation"):
        DARTS(selection="perturbation", **wrong)
