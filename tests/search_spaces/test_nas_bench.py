"""The spaces of the two benchmarks: the authors' counts, and every key of their tables."""

import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces import nas_bench_201, nas_bench_macro
from search_spaces.cost.counting import cost
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.nas_bench_macro import NASBenchMacro

CELL_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELLS = ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops) for ops in itertools.product(CELL_OPS, repeat=6)]
NETS = ["".join(digits) for digits in itertools.product("012", repeat=8)]

# Parameters and multiply-adds that the authors publish, with the classifier of ten classes.
MACRO_COUNTS = {
    "00000000": (387882, 7713280),
    "11111111": (1588874, 53246464),
    "22222222": (2932586, 105660928),
    "02012100": (890666, 47327744),
    "11111221": (2181386, 65012224),
    "00011110": (1118378, 31390208),
    "02012220": (1886890, 65495552),
    "10000000": (396298, 12128768),
    "00100000": (419050, 12018176),
}


def with_classifier(space, architecture, num_classes=10):
    """Parameters and multiply-adds on CIFAR-10."""
    with torch.device("meta"):
        net = space.student(architecture)
    counted = cost(net, 32, 32)
    return (
        counted.parameters + (net.out_channels + 1) * num_classes,
        counted.multiply_adds + net.out_channels * num_classes,
    )


@pytest.mark.medium
@pytest.mark.parametrize(
    ("module", "keys", "count"), [(nas_bench_201, CELLS, 15625), (nas_bench_macro, NETS, 6561)], ids=["201", "macro"]
)
def test_every_key_is_one_architecture(module, keys, count):
    architectures = [module.from_table_key(key) for key in keys]
    assert [module.table_key(architecture) for architecture in architectures] == keys
    assert len(set(architectures)) == count


@pytest.mark.parametrize(
    ("space", "module"),
    [(NASBench201(channels=1, cells=1), nas_bench_201), (NASBenchMacro(channels=1, last_channels=1), nas_bench_macro)],
)
def test_samples_have_keys_and_keys_can_be_built(space, module):
    rng = np.random.default_rng(0)
    for architecture in (space.published(), *(space.sample(rng) for _ in range(20))):
        again = module.from_table_key(module.table_key(architecture))
        assert (again, again.space) == (architecture, architecture.space)
        space.check(again)


@pytest.mark.parametrize("key", ["", "|none~0|", "0120120", "01201213", CELLS[5].replace("~2", "~1"), CELLS[5] + "|"])
def test_wrong_keys_are_named(key):
    for module in (nas_bench_201, nas_bench_macro):
        with pytest.raises(ValueError, match=re.escape(f"not {key!r}")):
            module.from_table_key(key)


def test_the_cell_of_3x3_convolutions_has_its_count():
    assert with_classifier(NASBench201(), None)[0] == 1_531_546


@pytest.mark.parametrize("key", MACRO_COUNTS)
def test_macro_networks_have_their_counts(key):
    assert with_classifier(NASBenchMacro(), nas_bench_macro.from_table_key(key)) == MACRO_COUNTS[key]


def test_a_cell_is_its_sums():
    """Against the paper's figure written out, for a cell with every operation."""
    key = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
    torch.manual_seed(0)
    net = NASBench201(channels=4, cells=1, num_stages=1).student(nas_bench_201.from_table_key(key)).eval()
    cell = net.layers[2]
    convolutions = [edge for edge in cell.edges if getattr(edge, "norm", None) is not None]
    first, second, third = [lambda x, op=op: op.norm(op.body(x.relu())) for op in convolutions]
    x = torch.randn(2, 4, 6, 5)
    one = first(x)
    two = x + second(one)
    three = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) + third(two)
    torch.testing.assert_close(cell(x), three)


def test_odd_sizes_pass():
    assert NASBench201(channels=2, cells=1).student()(torch.randn(2, 3, 9, 7))["map"].shape == (2, 8, 3, 2)
