"""What a module computes, exactly but for rounding, in less time on a CPU where maps are small.

There a convolution's start-up outweighs its work: 1x1 convolutions are matrix products, and rows and columns of a
kernel that see nothing but padding are left out.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    """`conv(x)` without what need not be looked at, see `shrunk`."""
    x, weight, stride, padding, dilation = shrunk(conv, x, conv.weight)
    return F.conv2d(x, weight, conv.bias, stride, padding, dilation, conv.groups)


def shrunk(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, list[int], list[int], list[int]]:
    """What a convolution like `conv` with this `weight` takes, less what need not be looked at: the map, the weight,
    stride, padding and dilation.

    Left out are the kernel's rows and columns that reach beyond the map wherever they are put, and the rows and columns
    of the map that neither stride nor dilation ever hits.
    """
    padding, stride, dilation = ([int(each) for each in sizes] for sizes in (conv.padding, conv.stride, conv.dilation))
    for place, taps in enumerate(conv.kernel_size):
        step = math.gcd(stride[place], dilation[place], padding[place])
        if step > 1:
            x = x[(slice(None),) * (2 + place) + (slice(None, None, step),)]
            stride[place], dilation[place], padding[place] = (
                each[place] // step for each in (stride, dilation, padding)
            )
        idle = sum(offset * dilation[place] >= x.shape[2 + place] for offset in range(1, taps // 2 + 1))
        if idle and padding[place] == dilation[place] * (taps // 2):
            weight = weight.narrow(place + 2, idle, taps - 2 * idle)
            padding[place] -= dilation[place] * idle
    return x, weight, stride, padding, dilation
