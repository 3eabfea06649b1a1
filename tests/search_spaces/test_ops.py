"""The candidates: their shapes, the part-aware module against a loop, and the weight that a norm takes in."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from search_spaces import ops, resnet
from search_spaces.cpu_kernels import quickly
from search_spaces.mobilenet_v2 import candidates

SIZES = [(8, 4), (7, 5), (9, 3), (4, 4), (3, 2), (2, 5), (12, 1)]
CANDIDATES = {**ops.KDAS, **ops.DARTS}


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_parts(module, x):
    """The part-aware module's vectors spread over the rows, image by image and stripe by stripe `[B, h, H, W]`."""
    height, width = x.shape[2:]
    num_parts = min(module.num_parts, height)
    bounds = [i * height // num_parts for i in range(num_parts + 1)]
    raw = [
        [
            module.reduce.weight[:, :, 0] @ image[:, top:bottom].mean(dim=(1, 2)).relu()
            for top, bottom in pairwise(bounds)
        ]
        for image in x
    ]
    every = torch.stack([vector for image in raw for vector in image])
    mean, var = every.mean(0), every.var(0, unbiased=False)
    spread = torch.zeros(len(x), every.shape[1], height, width, dtype=x.dtype)
    for b, image in enumerate(raw):
        parts = [(vector - mean) / (var + module.norm.eps).sqrt() for vector in image]
        for i, mine in enumerate(parts):
            scores = [(module.key.weight @ mine) @ (module.query.weight @ other) for other in parts]
            attention = torch.softmax(torch.stack(scores), dim=0)
            vector = sum(a * other for a, other in zip(attention, parts, strict=True))
            spread[b, :, bounds[i] : bounds[i + 1]] = vector[:, None, None]
    return spread


def naive_part_aware(module, x, stride):
    joined = torch.cat([x, naive_parts(module, x)], dim=1)
    if stride == 1:
        return torch.einsum("oc,bchw->bohw", module.project.weight[:, :, 0, 0], joined)
    even, odd = joined[:, :, ::2, ::2], torch.zeros_like(joined[:, :, ::2, ::2])
    shifted = joined[:, :, 1::2, 1::2]
    odd[:, :, : shifted.shape[2], : shifted.shape[3]] = shifted
    return torch.cat(
        [
            torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], half)
            for conv, half in ((module.project.even, even), (module.project.odd, odd))
        ],
        dim=1,
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_part_aware_is_a_loop_over_images_and_stripes(size, batch, stride):
    torch.manual_seed(0)
    module = ops.PartAware(7, stride, affine=False).double()
    x = maps(batch, 7, *size)
    torch.testing.assert_close(module(x), naive_part_aware(module, x, stride), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_part_aware_gradients(stride):
    torch.manual_seed(0)
    module = ops.PartAware(3, stride, affine=True).double()
    assert torch.autograd.gradcheck(module, maps(2, 3, 5, 2).requires_grad_())


@pytest.mark.parametrize("height", range(1, 13))
@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_a_stripe_starts_at_the_floor_of_its_share(height, num_parts):
    stripes = min(num_parts, height)
    expected = [i for i in range(stripes) for _ in range(i * height // stripes, (i + 1) * height // stripes)]
    assert ops.stripe_of_row(height, num_parts).tolist() == expected


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates_agree_on_the_size_of_any_map(name, stride, affine):
    op = CANDIDATES[name](6, stride, affine).double()
    separable = ops.separable(6, 3, stride, affine).double()
    for size in SIZES:
        assert op(maps(2, 6, *size)).shape == separable(maps(2, 6, *size)).shape
    assert op.out_channels == 6


def test_only_the_norms_of_a_supernet_have_no_scale():
    for make in CANDIDATES.values():
        for stride in (1, 2):
            assert not any(isinstance(m, nn.BatchNorm2d) and m.affine for m in make(6, stride, False).modules())
            assert all(m.affine for m in make(6, stride, True).modules() if isinstance(m, nn.BatchNorm2d))


def test_factorized_reduce_on_even_sizes_is_darts():
    op = ops.factorized_reduce(5, 6).double()
    x = maps(2, 5, 8, 6)
    rectified = x.relu()
    halves = [
        F.conv2d(rectified, op.body.even.weight, stride=2),
        F.conv2d(rectified[:, :, 1:, 1:], op.body.odd.weight, stride=2),
    ]
    expected = F.batch_norm(torch.cat(halves, dim=1), None, None, training=True)
    torch.testing.assert_close(op(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_factorized_reduce_splits_odd_channels(size):
    op = ops.factorized_reduce(3, 5)
    assert op(torch.randn(2, 3, *size)).shape == (2, 5, (size[0] + 1) // 2, (size[1] + 1) // 2)


WEIGHTED = {
    **{
        f"{name}/{stride}/{affine}": partial(make, 8, stride, affine)
        for name, make in CANDIDATES.items()
        for stride in (1, 2)
        for affine in (True, False)
    },
    **{
        f"{key}/{c_out}/{stride}/{affine}": make
        for c_out, stride in ((8, 1), (8, 2), (6, 1))
        for affine in (True, False)
        for key, make in candidates(8, c_out, stride, affine).items()
    },
    **{
        f"{key}/{c_out}/{stride}/{affine}": make
        for c_out, stride in ((4, 1), (8, 1), (8, 2))
        for affine in (True, False)
        for key, make in resnet.candidates(dict.fromkeys(resnet.KINDS, 2), 8, c_out, stride, affine).items()
    },
}


def outcome(op, run):
    """What `run(weight, x)` gives, its gradients, and the running statistics it leaves; `op` is as before."""
    x, weight = maps(3, 8, 7, 4).requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    before = {key: value.clone() for key, value in op.state_dict().items()}
    y = run(weight, x)
    gradients = torch.autograd.grad((y * maps(*y.shape, seed=1)).sum(), [x, weight, *op.parameters()])
    running = [value.clone() for key, value in op.state_dict().items() if "running" in key]
    op.load_state_dict(before)
    return [y, *gradients, *running]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_is_the_weight_times_the_candidate(name, training):
    torch.manual_seed(0)
    op = WEIGHTED[name]().double().train(training)
    for norm in op.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    folded = outcome(op, lambda weight, x: op.weighted(weight, x, x.relu))
    plain = outcome(op, lambda weight, x: weight * op(x))
    for mine, theirs in zip(folded, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(8, 4), (7, 5), (2, 5), (3, 1), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", CANDIDATES)
def test_what_is_computed_quickly_is_the_same(name, stride, size):
    body = CANDIDATES[name](4, stride, False).body.double()
    x = maps(3, 4, *size).requires_grad_()
    plain, quick = body(x), quickly(body, x)
    torch.testing.assert_close(quick, plain)
    of = [x, *body.parameters()]
    gradients = [torch.autograd.grad(y, of, maps(*plain.shape, seed=1), materialize_grads=True) for y in (plain, quick)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("c_in", [1, 2, 4, 7, 8])
def test_a_strided_pointwise_convolution_of_few_channels(c_in, size):
    """In channels-last memory, where oneDNN corrupts the heap on some processors, it is what it is anywhere else."""
    conv = ops.pointwise(c_in, 6, 2)
    x = maps(2, c_in, *size).float()
    plain = F.conv2d(x, conv.weight, stride=2)
    conv, x = conv.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last).requires_grad_()
    for _ in range(20):
        torch.autograd.grad(conv(x).sum(), [x, *conv.parameters()])
    torch.testing.assert_close(conv(x), plain)
