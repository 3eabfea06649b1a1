"""All architectures of a space: each once, also where answers lead to other questions."""

from dataclasses import dataclass, field

import numpy as np
from torch import nn

from search_spaces.every import every_architecture, num_combinations
from search_spaces.nas_bench_macro import NASBenchMacro
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Deep(SearchSpace):
    """A depth of 1 to 3, and a width for each layer."""

    widths: tuple[int, ...] = field(default=(4, 8))

    def build(self, pick, c_in=3):
        for layer in range(pick.value("depth", (1, 2, 3))):
            pick.value(f"layer{layer}.width", self.widths)
        return nn.Identity()


@dataclass(frozen=True)
class Node(SearchSpace):
    """Two of three inputs, with one of two operations on each."""

    def build(self, pick, c_in=3):
        return pick.within("cell").edges("node", {i: {"a": nn.Identity, "b": nn.Identity} for i in range(3)}, keep=2)


@dataclass(frozen=True)
class Closed(SearchSpace):
    def build(self, pick, c_in=3):
        pick.value("width", (4,))
        return nn.Identity()


def test_each_architecture_comes_once_with_the_questions_that_its_answers_lead_to():
    found = list(every_architecture(Deep()))
    assert len(found) == len({*found}) == 2 + 4 + 8
    assert {len(each.decisions) for each in found} == {2, 3, 4} and found[0] == Deep().published()
    rng = np.random.default_rng(0)
    assert {Deep().sample(rng) for _ in range(500)} == {*found}
    assert num_combinations(Deep()) == 3 * 2  # the first one asks for a depth and one width


def test_nodes_have_every_pair_of_inputs_with_every_operation():
    found = list(every_architecture(Node()))
    assert len({*found}) == len(found) == num_combinations(Node()) == 3 * 2 * 2
    assert all(len(each.decisions["cell.node"]) == 2 for each in found)


def test_a_space_that_leaves_nothing_open_has_one_and_large_ones_are_counted_without_a_walk():
    assert [each.decisions for each in every_architecture(Closed())] == [{}]
    assert num_combinations(NASBenchMacro(channels=2, last_channels=2)) == 3**8
