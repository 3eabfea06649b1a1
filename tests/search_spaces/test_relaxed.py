"""The derivation against DARTS's own and against enumeration, and what the folded supernet saves."""

from dataclasses import dataclass
from itertools import islice, pairwise, product
from math import log, prod

import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture, all_edges, parse_edge
from search_spaces.cell import Cells
from search_spaces.derive import derive, ranked, skips_by_cell
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201, from_table_key
from search_spaces.ops import DARTS, KDAS
from search_spaces.relaxed import NONE, MixedOp, Relaxed, States, Supernet, summed
from search_spaces.resnet import ResNet
from search_spaces.space import SearchSpace
from students.reid import ReID

DARTS_CELLS = Cells(channels=2, cells=2, reductions=(2,), candidates="darts", stem="cifar")
KEYS = ("sep3", "max3", "skip")
KDAS_CELLS = Cells(channels=3, cells=2, reductions=(2,))


def random_supernet(space, seed, architecture=None):
    net = Supernet.of(space, architecture=architecture)
    with torch.no_grad():
        net.alpha.normal_(generator=torch.Generator().manual_seed(seed), std=2.0)
    return net


class Nodes(nn.Module):
    def __init__(self, op, nodes):
        super().__init__()
        self.op, self.nodes, self.out_channels = op, nn.ModuleList(nodes), 3

    def forward(self, x):
        states = States([x, self.op(x)])
        for node in self.nodes:
            states.append(node(states))
        return {"map": states[-1]}


@dataclass(frozen=True)
class TwoNodes(SearchSpace):
    """3 x 9 x 6 architectures: few enough to write them all down."""

    keys: tuple[str, ...] = KEYS

    def build(self, pick, c_in=3):
        makers = {key: lambda key=key: KDAS[key](3, 1, pick.affine) for key in self.keys}
        op = pick.op("op", makers)
        last = pick.edges("last", dict.fromkeys(range(2), makers), keep=1)
        return Nodes(op, [pick.edges("node", {0: makers, 1: makers}, keep=2), last])


def darts_parse(weights, names, steps=4):
    """`_parse` of quark0/darts (model_search.py), written again from its description.

    Per node the two inputs whose best operation, zero aside, has the largest weight; on each that operation.
    """
    zero, gene, start = names.index(NONE), [], 0
    for i in range(steps):
        rows = weights[start : start + i + 2]
        strength = [max(w for k, w in enumerate(row) if k != zero) for row in rows]
        best = sorted(range(i + 2), key=lambda x: -strength[x])[:2]
        gene.extend((names[rows[j].index(strength[j])], j) for j in best)
        start += i + 2
    return gene


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("space", [DARTS_CELLS, KDAS_CELLS], ids=["darts", "kdas"])
def test_derive_is_darts_parse(space, seed):
    net = random_supernet(space, seed)
    weights = dict(zip(net.options, torch.softmax(net.alpha.detach(), dim=1).tolist(), strict=True))
    names = [*(DARTS if space is DARTS_CELLS else KDAS), NONE]
    found = derive(net).decisions
    for kind in ("normal", "reduce"):
        rows = [weights[f"{kind}.{node}<{source}"] for node in range(2, 6) for source in range(node)]
        gene = darts_parse(rows, names)
        for i in range(4):
            assert {parse_edge(edge) for edge in found[f"{kind}.{i + 2}"]} == set(gene[2 * i : 2 * i + 2])


def test_derive_reads_an_operation_of_its_own():
    net = random_supernet(ResNet(width=1 / 16), 0)
    best = {name: max(options, key=options.get) for name, options in net.alphas().items()}
    assert derive(net).decisions == best
    assert derive(net).space == "ResNet"


@pytest.mark.parametrize("seed", range(3))
def test_ranked_is_every_combination_by_its_product(seed):
    net = random_supernet(TwoNodes(), seed)
    alphas = net.alphas()
    scores = {}
    for op, node, last in product(alphas["op"], all_edges({0: KEYS, 1: KEYS}, 2), all_edges({0: KEYS, 1: KEYS}, 1)):
        edges = [
            alphas[f"{name}<{parse_edge(edge)[1]}"][parse_edge(edge)[0]]
            for name, answer in (("node", node), ("last", last))
            for edge in answer
        ]
        scores[Architecture("TwoNodes", {"op": op, "node": node, "last": last})] = log(alphas["op"][op] * prod(edges))
    found = list(ranked(net))
    assert len(found) == len(scores) == 3 * 9 * 6
    assert {architecture for _, architecture in found} == scores.keys()
    assert all(before >= after for (before, _), (after, _) in pairwise(found))
    assert all(score == pytest.approx(scores[architecture], rel=1e-12) for score, architecture in found)


def test_ranked_is_lazy_on_a_space_too_large_to_list():
    net = random_supernet(KDAS_CELLS, 0)
    best = list(islice(ranked(net), 50))
    assert len({architecture for _, architecture in best}) == 50
    assert best[0][1] == derive(net)
    assert all(before >= after for (before, _), (after, _) in pairwise(best))


def num_skips(architecture, kind):
    return sum(
        edge.startswith("skip@")
        for name, edges in architecture.decisions.items()
        if name.startswith(kind)
        for edge in edges
    )


def fond_of_skips():
    net = random_supernet(KDAS_CELLS, 0)
    with torch.no_grad():
        net.alpha[:, list(KDAS).index("skip")] += 8
    return net


@pytest.mark.medium
@pytest.mark.parametrize("max_skips", [0, 1, 2, 5, 8])
def test_no_kind_of_cell_derives_more_identities_than_allowed(max_skips):
    net = fond_of_skips()
    for kind in ("normal", "reduce"):
        assert num_skips(derive(net), kind) == 8
        assert num_skips(derive(net, max_skips), kind) == max_skips
        assert all(num_skips(found, kind) <= max_skips for _, found in islice(ranked(net, max_skips), 20))


def test_the_weakest_identity_is_given_up_first():
    net = fond_of_skips()
    chosen = [(name, *parse_edge(edge)) for name, edges in derive(net).decisions.items() for edge in edges]
    for kind in ("normal", "reduce"):
        weakest = min(
            (f"{name}<{source}" for name, _, source in chosen if name.startswith(kind)),
            key=lambda row: net.alphas()[row]["skip"],
        )
        node, _, source = weakest.partition("<")
        assert f"skip@{source}" in derive(net, 8).decisions[node]
        assert f"skip@{source}" not in derive(net, 7).decisions[node]


def test_a_cap_that_nothing_can_meet_is_refused():
    with pytest.raises(ValueError, match="at most 0 identities: .* offers nothing else"):
        derive(random_supernet(TwoNodes(keys=("skip",)), 0), max_skips=0)


def test_identities_that_are_decided_already_count_and_the_others_give_way():
    decided = Architecture("TwoNodes", {"node": ("skip@0", "skip@1")})
    net = random_supernet(TwoNodes(keys=("sep3", "skip")), 0, decided)
    with torch.no_grad():
        net.alpha[:, 1] += 20
    assert skips_by_cell(derive(net)) == {"": 3}
    assert skips_by_cell(derive(net, max_skips=2)) == {"": 2}
    with pytest.raises(ValueError, match="at most 1 identities: node<0 offers nothing else"):
        derive(net, max_skips=1)


BENCH = NASBench201(channels=2, cells=1)


def test_edges_that_are_questions_of_their_own_count():
    key = "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|skip_connect~2|"
    assert skips_by_cell(from_table_key(key)) == {"cell": 3}
    assert skips_by_cell(ReID(backbone=BENCH, num_ids=3).published()) == {"backbone.cell": 0}
    assert skips_by_cell(ResNet(width=1 / 16).published()) == {}


@pytest.mark.parametrize("max_skips", [0, 2, 5])
def test_the_weakest_identities_of_such_edges_are_given_up(max_skips):
    net = random_supernet(BENCH, 0)
    with torch.no_grad():
        net.alpha[:, list(net.options["cell.1<0"]).index("skip")] += 8
    alphas = net.alphas()
    kept = sorted(alphas, key=lambda edge: -alphas[edge]["skip"])[:max_skips]
    assert set(derive(net).decisions.values()) == {"skip"}
    assert {edge for edge, op in derive(net, max_skips).decisions.items() if op == "skip"} == set(kept)
    assert all(skips_by_cell(found)["cell"] <= max_skips for _, found in islice(ranked(net, max_skips), 20))


def test_alphas_are_softmax_weights_and_padding_has_none():
    net = random_supernet(TwoNodes(), 0)
    assert net.absent.sum() == 1
    assert torch.equal(net.weights()[net.absent], torch.zeros(1))
    for row in net.alphas().values():
        assert sum(row.values()) == pytest.approx(1, abs=1e-6)
    assert list(net.alphas()["op"]) == list(KEYS)
    assert list(net.alphas()["node<0"]) == [*KEYS, NONE]


def test_the_same_name_must_have_the_same_options():
    pick = Relaxed()
    makers = {key: lambda key=key: KDAS[key](3, 1, False) for key in KEYS}
    pick.op("same", makers)
    assert pick.op("same", makers).row == 0
    with pytest.raises(ValueError, match="'same' was asked with options"):
        pick.op("same", {"skip": makers["skip"], "sep3": makers["sep3"]})


UNASKED = Architecture("", {"no.such": "thing"})


class Other(Supernet):
    """A strategy's own."""


@pytest.mark.parametrize("kind", [Supernet, Other], ids=lambda kind: kind.__name__)
def test_every_supernet_refuses_what_is_not_asked(kind):
    for options in ({"pick": Relaxed(UNASKED)}, {"architecture": UNASKED}):
        with pytest.raises(ValueError, match=r"no\.such.*does not ask"):
            kind.of(TwoNodes(), **options)


@pytest.mark.parametrize("beside", [{"architecture": UNASKED}, {"folded": False}], ids=str)
def test_a_pick_has_its_own_architecture_and_folding(beside):
    with pytest.raises(ValueError, match="give them to the pick"):
        Supernet.of(TwoNodes(), Relaxed(), **beside)
    assert not any(
        op.folded for op in Supernet.of(TwoNodes(), Relaxed(folded=False)).modules() if isinstance(op, MixedOp)
    )


class Plain(nn.Sequential):
    """A candidate that knows nothing of supernets."""

    def __init__(self, kernel):
        super().__init__(nn.Conv2d(3, 3, kernel, padding=kernel // 2), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.out_channels = 3


@dataclass(frozen=True)
class PlainNodes(SearchSpace):
    """Candidates that are plain modules, on edges beside one of ours, and as an operation of its own."""

    def build(self, pick, c_in=3):
        makers = {"conv1": lambda: Plain(1), "conv3": lambda: Plain(3), "max3": lambda: KDAS["max3"](3, 1, pick.affine)}
        op = pick.op("op", makers)
        return Nodes(op, [pick.edges("node", {0: makers, 1: makers}, keep=1)])


def test_plain_modules_are_candidates_folded_or_not():
    nets = [random_supernet(PlainNodes(), 0).double()]
    nets.append(Supernet.of(PlainNodes(), folded=False).double())
    nets[1].load_state_dict(nets[0].state_dict())
    images = torch.randn(4, 3, 8, 6, dtype=torch.float64)
    outputs = [net(images)["map"] for net in nets]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(
            (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum(), list(net.parameters())
        )
        for net, y in zip(nets, outputs, strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert all(gradient.any() for gradient in gradients[0])
    assert PlainNodes().student(derive(nets[0]))(images.float())["map"].shape == images.shape


def test_a_sum_takes_up_what_is_there_and_leaves_it_as_it_is():
    maps = [None, torch.ones(2), torch.full((2,), 2.0), None, torch.full((2,), 4.0), torch.full((2,), 8.0).double()]
    before = [None if y is None else y.clone() for y in maps]
    assert summed(iter(maps)).tolist() == [15.0, 15.0] and summed([None]) is None and summed(maps[:2]) is maps[1]
    assert all(y is old is None or torch.equal(y, old) for y, old in zip(maps, before, strict=True))


def test_a_state_is_pooled_once_for_all_that_read_it():
    space = Cells(channels=4, cells=1, reductions=())
    pools = {}
    for folded in (True, False):
        supernet = Supernet.of(space, folded=folded)
        calls = []
        for module in supernet.modules():
            if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
                module.register_forward_hook(lambda module, *_, calls=calls: calls.append(type(module)))
        supernet(torch.randn(2, 3, 64, 32))
        pools[folded] = len(calls)
    assert pools[False] - pools[True] == 2 * (14 - 4)  # of each kind 14 edges; the first two of five states at once


def saved_bytes(net, images):
    """What the forward pass keeps for the backward pass, parameters aside; shared storages count once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept = {}

    def keep(saved):
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        loss = sum(m.sum() for m in net(images).values())
    del loss
    return sum(size for pointer, size in kept.items() if pointer not in own)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("space", "at_most"),
    [
        (Cells(channels=8, cells=3, reductions=(2,)), 0.75),
        (Cells(channels=8, cells=3, reductions=(2,), candidates="darts", stem="cifar"), 0.75),
        (MobileNetV2(width=0.25), 0.98),
        (ResNet(width=1 / 8), 1.01),
    ],
    ids=["kdas", "darts", "mobilenet_v2", "resnet"],
)
def test_the_folded_supernet_keeps_less_for_the_backward_pass(space, at_most):
    images = torch.randn(2, 3, 64, 32)
    folded, plain = (saved_bytes(Supernet.of(space, folded=folded), images) for folded in (True, False))
    print(f"folded keeps {folded / plain:.3f} of {plain / 2**20:.1f} MiB")
    assert folded <= at_most * plain
