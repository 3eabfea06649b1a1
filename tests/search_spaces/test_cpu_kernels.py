"""The CPU's own ways against torch's."""

import pytest
import torch
from torch.nn import functional as F

from search_spaces.cpu_kernels import depthwise_backward, phases, side_by_side


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize(
    ("size", "taps", "stride", "dilation"),
    [
        ((8, 6), (3, 3), 1, 2),
        ((7, 5), (3, 3), 1, 2),
        ((3, 1), (3, 1), 1, 2),
        ((1, 7), (1, 5), 1, 2),
        ((9, 8), (5, 5), 1, 3),
        ((8, 6), (3, 3), 1, 1),
        ((8, 6), (3, 3), 2, 2),
        ((1, 1), (1, 1), 1, 2),
    ],
    ids=str,
)
def test_a_depthwise_convolutions_gradients_are_autograds(size, taps, stride, dilation, wanted):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 1, *taps, dtype=torch.float64, requires_grad=True)
    padding = [dilation * (number // 2) for number in taps]
    y = F.conv2d(x, weight, None, stride, padding, dilation, groups=4)
    gradient = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight), gradient)
    sizes = [stride] * 2, padding, [dilation] * 2
    found = depthwise_backward(gradient, x.detach(), weight.detach(), *sizes, wanted)
    for one, other, want in zip(found, expected, wanted, strict=True):
        if want:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", [[1, 1], [6, 6]], ids=str)
def test_a_padding_that_fits_no_phase_is_left_to_torch(padding):
    x, weight = torch.randn(2, 4, 8, 6, dtype=torch.float64), torch.randn(4, 1, 2, 3, dtype=torch.float64)
    leaves = x.requires_grad_(), weight.requires_grad_()
    y = F.conv2d(x, weight, None, 1, padding, 2, groups=4)
    gradient = torch.randn_like(y)
    found = depthwise_backward(gradient, x.detach(), weight.detach(), [1, 1], padding, [2, 2], (True, True))
    for one, other in zip(found, torch.autograd.grad(y, leaves, gradient), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 4)], ids=str)
@pytest.mark.parametrize("steps", [(2, 2), (3, 1), (1, 2)], ids=str)
def test_phases_are_each_so_many_th_pixel(steps, size):
    x = torch.rand(2, 3, *size)
    found = phases(x, steps)
    for row in range(steps[0]):
        for column in range(steps[1]):
            pixels = x[:, :, row :: steps[0], column :: steps[1]]
            own = found[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            assert torch.equal(own[:, :, : pixels.shape[2], : pixels.shape[3]], pixels)
            assert own.sum().item() == pytest.approx(pixels.sum().item())


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format], ids=str)
def test_joined_maps_get_gradients_in_their_own_order(order):
    maps = [torch.randn(2, c, 5, 3, dtype=torch.float64).contiguous(memory_format=order) for c in (2, 4, 3)]
    maps = [each.requires_grad_() for each in maps]
    joined = side_by_side(maps)
    assert torch.equal(joined, torch.cat(maps, dim=1)) and joined.is_contiguous(memory_format=order)
    for each in torch.autograd.grad(joined, maps, torch.randn_like(joined)):
        assert each.is_contiguous(memory_format=order)
    assert torch.autograd.gradcheck(lambda *each: side_by_side(each), maps)
    assert torch.autograd.gradgradcheck(lambda *each: side_by_side(each).square(), maps)
