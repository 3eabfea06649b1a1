"""What a module computes, exactly but for rounding, in less time on a CPU where maps are small.

There a convolution's start-up outweighs its work: 1x1 convolutions are matrix products, and rows and columns of a
kernel that see nothing but padding are left out.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_gradients: Any = torch.ops.aten.convolution_backward


class Quick(nn.Module):
    """A module that knows a way of its own."""

    @abstractmethod
    def quickly(self, x: Tensor) -> Tensor:
        """`self(x)` in less time on a CPU."""


def quickly(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)` in less time on a CPU, where there is a way; elsewhere just that."""
    match module:
        case nn.Sequential():
            return reduce(lambda y, each: quickly(each, y), module, x)
        case Quick() if x.device.type == "cpu":
            return module.quickly(x)
        case nn.Conv2d() if x.device.type == "cpu" and type(module) is nn.Conv2d:  # a subclass may compute otherwise
            pointwise = set(module.kernel_size) == set(module.stride) == {1} and module.groups == 1
            return projected([module], x) if pointwise and module.bias is None else convolved(module, x)
    return module(x)


def projected(
    convolutions: Sequence[nn.Conv2d], x: Tensor, of_parts: Tensor | None = None, stripe: Tensor | None = None
) -> Tensor:
    """1x1 convolutions without bias as matrix products, side by side: one of stride 1, or two of stride 2, the second
    shifted by one pixel.

    With `of_parts` `[B, P, h]` and the `stripe` of each row, those of `x` joined with each stripe's vector in all its
    places, without building that map.
    """
    y, stride = x.movedim(1, -1), len(convolutions)
    found: list[Tensor] = []
    for start, conv in enumerate(convolutions):
        weight = conv.weight.flatten(1)
        z = F.linear(y[:, start::stride, start::stride], weight[:, : x.shape[1]])
        if of_parts is not None and stripe is not None:
            given = F.linear(of_parts, weight[:, x.shape[1] :])
            z = z + given.index_select(1, stripe[start::stride]).unsqueeze(2)
        below, beside = (z.shape[1] - found[0].shape[1], z.shape[2] - found[0].shape[2]) if found else (0, 0)
        found.append(F.pad(z, (0, 0, 0, -beside, 0, -below)) if below or beside else z)
    return (torch.cat(found, dim=-1) if len(found) > 1 else found[0]).movedim(-1, 1)


def convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(x)` without what need not be looked at, see `thinned` and `shrunk`."""
    x = thinned(x, pixels_hit(conv))
    weight, stride, padding, dilation = shrunk(conv, x, conv.weight)
    return F.conv2d(x, weight, conv.bias, stride, padding, dilation, conv.groups)


def pixels_hit(conv: nn.Conv2d) -> tuple[int, int]:
    """Which rows and columns a convolution looks at, wherever its kernel is put: each so many'th."""
    rows, columns = map(math.gcd, *[map(int, sizes) for sizes in (conv.stride, conv.dilation, conv.padding)])
    return rows, columns


def thinned(x: Tensor, steps: tuple[int, int]) -> Tensor:
    """Each so many'th row and column of maps; their gradient is channels last, as they are."""
    return x if steps == (1, 1) else x.movedim(1, -1)[:, :: steps[0], :: steps[1]].movedim(-1, 1)


def shrunk(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, list[int], list[int], list[int]]:
    """What a convolution like `conv` with this `weight` takes for the map `x`, of which it gets what `pixels_hit`: the
    weight less its rows and columns that reach beyond the map wherever they are put, stride, padding and dilation.
    """
    padding, stride, dilation = ([int(each) for each in sizes] for sizes in (conv.padding, conv.stride, conv.dilation))
    for place, (taps, step) in enumerate(zip(conv.kernel_size, pixels_hit(conv), strict=True)):
        stride[place], dilation[place], padding[place] = (each[place] // step for each in (stride, dilation, padding))
        idle = sum(offset * dilation[place] >= x.shape[2 + place] for offset in range(1, taps // 2 + 1))
        if idle and padding[place] == dilation[place] * (taps // 2):
            weight = weight.narrow(place + 2, idle, taps - 2 * idle)
            padding[place] -= dilation[place] * idle
    return weight, stride, padding, dilation


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """Maps `[B, C, H, W]` joined in their channels, as `torch.cat` does it."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return SideBySide.apply(*maps)
    return torch.cat([*maps], dim=1)


class SideBySide(torch.autograd.Function):
    """`torch.cat` of maps, each of which gets a gradient of its own: behind a part of a larger map the backward pass
    of BatchNorm takes ten times as long."""

    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        joined = torch.cat(maps, dim=1)
        last = joined.is_contiguous(memory_format=torch.channels_last)
        ctx.widths = [each.shape[1] for each in maps]
        ctx.order = torch.channels_last if last else torch.contiguous_format
        return joined

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts = gradients[0].split(ctx.widths, dim=1)
        return tuple(
            part.contiguous(memory_format=ctx.order) if wanted else None
            for part, wanted in zip(parts, ctx.needs_input_grad, strict=True)
        )


def depthwise_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of a depthwise convolution's input and weight, those that are `wanted`.

    oneDNN takes ten times as long where the kernel is dilated. There the gradient of the input is a convolution of the
    gradient with the kernel turned round, and that of the weight the one of a dense kernel on the pixels of each phase.
    """
    steps = [step if taps > 1 else 1 for step, taps in zip(dilation, weight.shape[2:], strict=True)]
    reach = [step * (taps - 1) - pad for step, taps, pad in zip(dilation, weight.shape[2:], padding, strict=True)]
    whole = min(reach) >= 0 and not any(pad % step for pad, step in zip(padding, steps, strict=True))
    if x.device.type != "cpu" or max(steps) == 1 or max(stride) > 1 or not whole:
        how = stride, padding, dilation, False, [0, 0]
        return _gradients(gradient, x, weight, None, *how, len(weight), [*wanted, False])[:2]
    of_x = of_weight = None
    if wanted[0]:
        of_x = F.conv2d(gradient, weight.flip(2, 3), None, 1, reach, dilation, len(weight))
    if wanted[1]:
        x, gradient, dense = phases(x, steps), phases(gradient, steps), weight.repeat(steps[1], 1, 1, 1)
        padding = [pad // step for pad, step in zip(padding, steps, strict=True)]
        how = [1, 1], padding, [1, 1], False, [0, 0]
        _, of_phases, _ = _gradients(gradient, x, dense, None, *how, len(dense), [False, True, False])
        of_weight = of_phases.unflatten(0, (steps[1], -1)).sum(dim=0)
    return of_x, of_weight


def phases(x: Tensor, steps: Sequence[int]) -> Tensor:
    """Maps `[B, C, H, W]` as those of their pixels at each place modulo `steps`, padded with zeros to equal sizes
    `[steps[0] * B, steps[1] * C, ceil(H / steps[0]), ceil(W / steps[1])]`, so that whole rows are copied."""
    below, beside = (-size % step for size, step in zip(x.shape[2:], steps, strict=True))
    x = F.pad(x, (0, beside, 0, below)) if below or beside else x
    rows = x.movedim(1, -1).unflatten(1, (-1, steps[0])).permute(2, 0, 1, 3, 4).flatten(0, 1)
    return rows.unflatten(2, (-1, steps[1])).flatten(3).movedim(-1, 1)
