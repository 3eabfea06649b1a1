"""Candidates that are computed together say and learn what they do one by one."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.bench.kernels import Kernels
from nas.strategies.gdas import GDAS
from search_spaces import ops
from search_spaces.cell import Cell, Cells
from search_spaces.cpu_kernels import convolved
from search_spaces.merged import alike, merged
from search_spaces.ops import DARTS, KDAS
from search_spaces.relaxed import MixedNode, Relaxed, States, Supernet

CANDIDATES = {"kdas": KDAS, "darts": DARTS}


def supernets(kind, dtype=torch.float64, channels=8, cells=3):
    """The merged form and the plain one with the same weights, alphas and statistics."""
    torch.manual_seed(0)
    space = Cells(channels=channels, cells=cells, reductions=(2,)[: cells - 1], candidates=kind)
    ours, plain = Supernet.of(space).to(dtype), Supernet.of(space, folded=False).to(dtype)
    with torch.no_grad():
        ours.alpha.normal_()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def answer(net, x, weights):
    y = net(x)["map"]
    return y, torch.autograd.grad((y * weights(y)).sum(), [net.alpha, *net.net.parameters()])


def close(one, other, tolerance):
    largest = max(each.abs().max().item() for each in other)
    return all((a - b).abs().max().item() <= tolerance * largest for a, b in zip(one, other, strict=True))


def weights(y):
    return torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)


@pytest.mark.parametrize("size", [(64, 32), (37, 19)], ids=str)
@pytest.mark.parametrize("kind", CANDIDATES)
def test_loss_gradients_and_statistics_are_those_of_the_plain_form(kind, size):
    nets = supernets(kind)
    x = torch.randn(3, 3, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    (y, gradients), (expected, wanted) = (answer(net, x, weights) for net in nets)
    assert close([y], [expected], 1e-13) and close(gradients, wanted, 1e-13)
    ours, plain = (dict(net.named_buffers()) for net in nets)
    running = [name for name in plain if name.endswith(("running_mean", "running_var"))]
    assert all(torch.allclose(ours[name], plain[name], rtol=1e-12, atol=1e-13) for name in running)
    for net in nets:
        net.eval()
    assert close([nets[0](x)["map"]], [nets[1](x)["map"]], 1e-13)


@pytest.mark.parametrize("kind", CANDIDATES)
def test_one_cell_in_float32(kind):
    nets = supernets(kind, torch.float32, channels=16, cells=1)
    x = torch.randn(4, 3, 48, 24).contiguous(memory_format=torch.channels_last)
    (y, gradients), (expected, wanted) = (answer(net, x, weights) for net in nets)
    assert close([y], [expected], 1e-5) and close(gradients, wanted, 1e-5)


@pytest.mark.medium
def test_second_derivatives_are_those_of_the_plain_form():
    found = []
    for net in supernets("kdas", channels=4, cells=2):
        x = torch.linspace(-1, 1, 2 * 3 * 32 * 16, dtype=torch.float64).view(2, 3, 32, 16)
        loss = net(x)["map"].square().mean()
        of = [net.alpha, *net.net.parameters()]
        first = torch.autograd.grad(loss, of, create_graph=True)
        found.append(torch.autograd.grad(sum(each.square().sum() for each in first), of, materialize_grads=True))
    assert close(found[0], found[1], 1e-11)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(KDAS.keys() | DARTS.keys()))
def test_each_candidate(name, stride):
    """Of three edges, affine or not; a map that is no multiple of the stride."""
    make = {**KDAS, **DARTS}[name]
    for affine in (False, True):
        edges = [make(6, stride, affine).double() for _ in range(3)]
        assert alike(edges)
        for edge in edges:
            for norm in [module for module in edge.modules() if isinstance(module, nn.BatchNorm2d) and affine]:
                nn.init.normal_(norm.weight)
        x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
        scales = torch.tensor([[0.2, 0.5, -0.3]], dtype=torch.float64)
        together = merged([edges], scales, [x])
        one_by_one = torch.cat([scale * edge(x) for scale, edge in zip(scales[0], edges, strict=True)], dim=1)
        assert close([together], [one_by_one], 1e-13)


def test_every_node_of_a_cell_is_merged(monkeypatch):
    ours, _ = supernets("kdas", torch.float32)
    asked = []
    monkeypatch.setattr("search_spaces.relaxed.summed", lambda maps: asked.append(maps))
    ours(torch.randn(2, 3, 32, 16))
    assert not asked


def test_names_in_a_state_dict_are_those_of_the_edges():
    ours, plain = supernets("kdas")
    assert list(ours.state_dict()) == list(plain.state_dict())
    ours(torch.randn(2, 3, 32, 16, dtype=torch.float64))
    assert list(ours.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    "change",
    [copy.deepcopy, lambda net: net.float().double(), lambda net: net.train()],
    ids=["a copy", "another type and back", "the same"],
)
def test_statistics_stay_with_their_norms(change):
    """They lie side by side in memory after a pass, also in a copy, and after a change of their type."""
    ours, plain = supernets("kdas")
    x = torch.randn(2, 3, 32, 16, dtype=torch.float64)
    ours(x)
    held = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    changed = change(ours)
    changed(x)
    plain.load_state_dict(held, strict=False)
    plain(x)
    running = [name for name in held if name.endswith(("running_mean", "running_var"))]
    ours, expected = dict(changed.named_buffers()), dict(plain.named_buffers())
    assert all(torch.allclose(ours[name], expected[name], rtol=1e-5, atol=1e-6) for name in running)


def test_a_state_dict_is_taken_into_what_lies_side_by_side():
    ours, plain = supernets("kdas")
    x = torch.randn(2, 3, 32, 16, dtype=torch.float64)
    ours(x)
    state = {
        name: torch.rand_like(value) if value.is_floating_point() else value
        for name, value in ours.state_dict().items()
    }
    ours.load_state_dict(state)
    plain.load_state_dict(state)
    assert close([ours.eval()(x)["map"]], [plain.eval()(x)["map"]], 1e-12)


class Own(nn.Module):
    """A candidate of somebody else's."""

    def __init__(self, channels):
        super().__init__()
        self.out_channels = channels
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def test_a_cell_with_candidates_of_ones_own_sees_to_each(monkeypatch):
    candidates = {
        "own": lambda c, stride, affine: Own(c) if stride == 1 else ops.skip(c, stride, affine),
        "skip": ops.skip,
    }
    relaxed, plain = Relaxed(), Relaxed(folded=False)
    torch.manual_seed(0)
    cell = Cell(relaxed, "normal", (4, 4), 4, False, candidates, ["skip@0"] * 4)
    other = Cell(plain, "normal", (4, 4), 4, False, candidates, ["skip@0"] * 4)
    other.load_state_dict(cell.state_dict())
    rows = torch.softmax(torch.randn(len(relaxed.mixture.rows), 3), dim=1)
    for pick in (relaxed, plain):
        pick.mixture.weights, pick.mixture.table = [row.unbind() for row in rows.unbind()], rows
    x = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(cell(x, x), other(x, x))
    assert all(isinstance(node, MixedNode) and node._alike is False for node in cell.nodes[:1])


def test_one_path_computes_one_candidate(monkeypatch):
    """GDAS's weights leave candidates out, so that nothing is merged."""
    monkeypatch.setattr("search_spaces.relaxed.merged", None)
    supernet = GDAS().supernet(Cells(channels=4, cells=2, reductions=(2,)))
    assert supernet(torch.randn(2, 3, 32, 16))["map"].isfinite().all()


def test_nodes_that_ask_in_another_order_see_to_themselves():
    ours, plain = supernets("kdas", cells=1)
    cell, other = ours.net.cells[0], plain.net.cells[0]
    for net in (ours, plain):
        net._mixture.weights = net.mixing()
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    states = States([x, x, x], list(cell.nodes))
    torch.testing.assert_close(cell.nodes[1](states), other.nodes[1](States([x, x, x])))


def test_a_scale_must_not_be_expanded():
    """What the docstring warns of: in channels-last memory a scale with a stride of 0 has wrong gradients."""
    torch.manual_seed(0)
    x = torch.randn(4, 8, 6, 5).contiguous(memory_format=torch.channels_last)
    edges = [ops.dilated(4, 3, 1, affine=False) for _ in range(2)]
    scales = torch.rand(1, 2, requires_grad=True)
    y = merged([edges], scales, [x[:, :4].contiguous(memory_format=torch.channels_last)])
    (found,) = torch.autograd.grad(y.square().sum(), scales)
    apart = [scale * edge(x[:, :4]) for scale, edge in zip(scales[0], edges, strict=True)]
    (expected,) = torch.autograd.grad(sum(each.square().sum() for each in apart), scales)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 6), (9, 5), (2, 1), (1, 7)], ids=str)
@pytest.mark.parametrize(("stride", "dilation", "kernel"), [(2, 2, 3), (2, 2, 5), (4, 2, 3), (2, 1, 3), (1, 2, 3)])
def test_convolutions_look_at_no_more_than_they_use(stride, dilation, kernel, size):
    conv = nn.Conv2d(4, 4, kernel, stride, dilation * (kernel // 2), dilation, groups=4, bias=True).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(convolved(conv, x), conv(x), rtol=1e-12, atol=1e-12)


class Orders(TorchDispatchMode):
    """Which backward passes of BatchNorm get map and gradient in different orders of memory."""

    def __init__(self):
        super().__init__()
        self.num_seen, self.different = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.native_batch_norm_backward.default and args[0].dim() == 4:
            gradient, x = args[:2]
            self.num_seen += 1
            if not all(each.is_contiguous(memory_format=torch.channels_last) for each in (gradient, x)):
                self.different.append((tuple(x.shape), gradient.stride(), x.stride()))
        return func(*args, **(kwargs or {}))


def test_batch_norm_gets_its_gradients_in_the_order_of_its_maps():
    """Elsewhere its backward pass takes five to ten times as long on a CPU."""
    supernet = Supernet.of(Cells(channels=8, cells=5, reductions=(2, 4)))
    images = torch.randn(2, 3, 160, 64).contiguous(memory_format=torch.channels_last)
    loss, orders = supernet(images)["map"].square().mean(), Orders()
    with orders:
        torch.autograd.grad(loss, list(supernet.parameters()))
    assert orders.num_seen > 50 and not orders.different


@pytest.mark.medium
def test_a_bilevel_step_is_few_kernels_and_the_host_reads_nothing():
    """Of the weights' and the alphas' gradients; 29,110 with the candidates one by one. `Kernels` raises at a read."""
    with torch.device("meta"):
        supernet = Supernet.of(Cells(channels=16))
        images, weights = torch.empty(16, 3, 96, 32), list(supernet.net.parameters())
        counted = Kernels()
        for learns, rests in (weights, [supernet.alpha]), ([supernet.alpha], weights):
            for each in learns:
                each.requires_grad_(True)
            for each in rests:
                each.requires_grad_(False)
            with counted:
                torch.autograd.grad(supernet(images)["map"].square().mean(), learns)
    assert counted.num_sent == 0
    assert 1_000 < counted.num_kernels <= 11_500


def test_states_of_large_maps_are_read_one_after_another(monkeypatch):
    """So that they stay in a CPU's cache; what comes out is the same but for rounding."""
    (ours, _), x = supernets("kdas"), torch.randn(2, 3, 32, 16, dtype=torch.float64)
    together = answer(ours, x, weights)
    num_states = []

    def counted(options, scales, states):
        num_states.append(len(states))
        return merged(options, scales, states)

    monkeypatch.setattr("search_spaces.relaxed.merged", counted)
    answer(ours, x, weights)
    assert sorted(set(num_states)) == [1, 2]
    num_states.clear()
    monkeypatch.setattr("search_spaces.relaxed.CACHE_BYTES", 0)
    (y, gradients), (expected, wanted) = answer(ours, x, weights), together
    assert set(num_states) == {1}
    assert close([y], [expected], 1e-13) and close(gradients, wanted, 1e-13)
