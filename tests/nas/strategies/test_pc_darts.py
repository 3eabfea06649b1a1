"""PC-DARTS's parts against loops over channels and edges, and against DARTS where nothing is left out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.strategies.pc_darts import PCDARTS, PartialOp, narrowed
from search_spaces import ops
from search_spaces.architecture import parse_edge
from search_spaces.cell import Cells
from search_spaces.derive import derive
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import NONE, MixedNode, Mixture, States, Supernet
from students.reid import ReID

CELLS = Cells(channels=4, cells=2, reductions=(2,))


def supernet_of(space=CELLS, seed=0, **options):
    torch.manual_seed(seed)
    net = PCDARTS(**options).supernet(space).double()
    with torch.no_grad():
        net.alpha.normal_()
    return net


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("folded", [True, False])
def test_a_partial_operation_is_a_loop_over_channels(stride, folded):
    num_parts, channels = 4, 12
    candidates = [ops.KDAS[key](3, stride, False).double() for key in ("sep3", "max3", "skip")]
    mixture = Mixture()
    mixed = PartialOp(candidates, mixture, 0, folded, num_parts)
    weights, share = torch.rand(3, dtype=torch.float64), torch.rand((), dtype=torch.float64)
    mixture.weights = [[*(share * weights), share]]
    x = torch.randn(5, channels, 7, 5, dtype=torch.float64)
    seen = sum(w * op(x[:, :3]) for w, op in zip(weights, candidates, strict=True))
    expected = torch.zeros(5, channels, *seen.shape[2:], dtype=torch.float64)
    for old in range(channels):
        group, place = divmod(old, channels // num_parts)
        rest = x[:, old] if stride == 1 else F.max_pool2d(x[:, old], 2, ceil_mode=True)
        expected[:, place * num_parts + group] = share * (seen[:, old] if old < 3 else rest)
    assert mixed.out_channels == channels
    torch.testing.assert_close(mixed(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 32), (37, 19)], ids=str)
@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_what_is_computed_together_is_what_each_edge_gives(num_parts, size, monkeypatch):
    space = Cells(channels=8, cells=3, reductions=(2,))
    together, plain = (supernet_of(space, num_parts=num_parts, folded=folded) for folded in (True, False))
    plain.load_state_dict(together.state_dict())
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    found = []
    for net in (plain, together):
        y = net(x)["map"]
        of = [net.alpha, *net.net.parameters()]
        found.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), of)))
        monkeypatch.setattr(PartialOp, "forward", None)  # the second net does without
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * max(1, other.abs().max().item()))


def test_every_edge_has_its_own_weight():
    net = supernet_of()
    rows = dict(zip(net.options, net.alpha.detach().tolist(), strict=True))

    def softmax(numbers):
        powers = [torch.tensor(n, dtype=torch.float64).exp().item() for n in numbers]
        return [power / sum(powers) for power in powers]

    strengths = net.strengths()
    mixing = dict(zip(net.options, net.mixing(), strict=True))
    for kind in ("normal", "reduce"):
        for node in range(2, 6):
            shares = softmax(rows[f"{kind}.{node}.inputs"][:node])
            for source, share in enumerate(shares):
                edge = f"{kind}.{node}<{source}"
                expected = [share * weight for weight in softmax(rows[edge])]
                assert list(strengths[edge].values()) == pytest.approx(expected, rel=1e-12)
                assert [w.item() for w in mixing[edge]] == pytest.approx([*expected, share], rel=1e-12)
    assert len(strengths) == 28 and len(net.alpha) == 28 + 8


def test_all_channels_and_equal_edges_make_darts_divided_by_the_number_of_inputs():
    torch.manual_seed(0)
    darts = Supernet.of(CELLS).double()
    net = supernet_of(num_parts=1)
    net.net.load_state_dict(darts.net.state_dict())
    with torch.no_grad():
        net.alpha[28:] = 0.7
        darts.alpha.copy_(net.alpha[:28])
    for supernet in (net, darts):
        supernet._mixture.weights = supernet.mixing()
    nodes = {name: node for name, node in net.named_modules() if isinstance(node, MixedNode)}
    theirs = dict(darts.named_modules())
    for name, node in nodes.items():
        states = [torch.randn(3, node.edges["0"].out_channels, 6, 4, dtype=torch.float64) for _ in node.edges]
        halved = [s[..., :3, :2] if "cells.1" in name and i > 1 else s for i, s in enumerate(states)]
        torch.testing.assert_close(
            len(node.edges) * node(States(halved)), theirs[name](States(halved)), rtol=1e-10, atol=1e-10
        )
    assert len(nodes) == 8


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(5))
def test_a_node_keeps_the_two_edges_with_the_largest_product(seed):
    net = supernet_of(seed=seed)
    alphas, found = net.alphas(), derive(net).decisions
    for kind in ("normal", "reduce"):
        for node in range(2, 6):
            best = {}
            for source, share in alphas[f"{kind}.{node}.inputs"].items():
                row = {op: w for op, w in alphas[f"{kind}.{node}<{source}"].items() if op != NONE}
                op = max(row, key=row.get)
                best[int(source)] = (share * row[op], op)
            kept = sorted(best, key=best.get)[-2:]
            assert {parse_edge(e) for e in found[f"{kind}.{node}"]} == {(best[s][1], s) for s in kept}
    CELLS.check(derive(net))


def test_a_weak_edge_loses_its_strong_operation():
    net = supernet_of()
    with torch.no_grad():
        net.alpha.zero_()
        net.alpha[list(net.options).index("normal.5<4"), 0] = 3.0
    assert "part@4" in derive(net).decisions["normal.5"]
    with torch.no_grad():
        net.alpha[list(net.options).index("normal.5.inputs"), 4] = -5.0
    assert "@4" not in "".join(derive(net).decisions["normal.5"])


@pytest.mark.medium
@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_it_learns_everywhere_and_sees_a_part_of_the_channels(num_parts):
    space = ReID(backbone=CELLS, num_ids=4, embedding_dim=6)
    net = supernet_of(space, num_parts=num_parts)
    out = net(torch.randn(4, 3, 33, 17, dtype=torch.float64))
    rng = torch.Generator().manual_seed(7)
    for value in (out.logits, out.maps["map"]):
        (value * torch.randn(value.shape, generator=rng, dtype=value.dtype)).sum().backward(retain_graph=True)
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert out.maps["map"].shape == space.student().double()(torch.randn(4, 3, 33, 17).double()).maps["map"].shape
    widths = [m.in_channels for name, m in net.named_modules() if ".ops.3.body.0" in name and isinstance(m, nn.Conv2d)]
    assert set(widths) == {4 // num_parts, 8 // num_parts}


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (Cells(channels=6), "must be a multiple of 4: Cells has 6"),
        (
            ReID(backbone=MobileNetV2(), num_ids=3),
            "MobileNetV2 has none: search Cells or NASBench201, or use darts or gdas",
        ),
    ],
)
def test_spaces_that_it_cannot_serve_are_named(space, says):
    with pytest.raises(ValueError, match=says):
        PCDARTS().supernet(space)


def test_a_narrowed_space_differs_in_its_channels_alone():
    assert narrowed(ReID(backbone=CELLS, num_ids=5), 2) == ReID(
        backbone=Cells(channels=2, cells=2, reductions=(2,)), num_ids=5
    )
