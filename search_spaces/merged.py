"""The candidates of all edges that read one state, or several of one size, computed together.

A supernet's cell has many small operations of the same kind on the same map. Here those of all edges are one: what
belongs to an edge lies side by side in the channels, `[B, edges * C, H, W]`; the edges' weights are the scales of one
BatchNorm. Loss and gradients are those of the edges one by one but for rounding; parameters and statistics are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.cpu_kernels import depthwise_backward, pixels_hit, shrunk, side_by_side, thinned
from search_spaces.ops import Halved, Op, PartAware, stripes

Norm = nn.BatchNorm1d | nn.BatchNorm2d


class Reading:
    """`k` states side by side `[B, k * C, H, W]` as their candidates see them; each is read by `m` edges."""

    def __init__(self, x: Tensor, num_states: int, num_edges: int) -> None:
        self.x, self.num_states, self.num_edges = x, num_states, num_edges
        self._made: dict[str, Tensor] = {}

    def seen_by(self, op: Op) -> Tensor:
        """The states as the operation's body sees them."""
        return self._once("rectified", lambda: F.relu(self.x)) if op.relu else self.x

    def repeated(self, op: Op, steps: tuple[int, int]) -> Tensor:
        """The same for each edge, each so many'th row and column `[B, k * m * C, H', W']`."""
        return self._once(f"{op.relu} {steps}", lambda: self.for_edges(thinned(self.seen_by(op), steps)))

    def for_edges(self, x: Tensor) -> Tensor:
        """Maps of the states `[B, k * C, H, W]`, each for all its edges, channels last."""
        of_states = x.movedim(1, -1).unflatten(-1, (self.num_states, 1, -1))
        return of_states.expand(-1, -1, -1, -1, self.num_edges, -1).flatten(-3).movedim(-1, 1)

    def _once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def merged(options: Sequence[Sequence[nn.Module]], scales: Tensor, states: Sequence[Tensor]) -> Tensor:
    """The sum over `k` states `[B, C, H, W]` of what the `m` edges of each give, side by side `[B, m * C', H', W']`.

    options: by option the candidate of each edge, first those of the first state, `alike`; scales: their weights
    `[num_options, k * m]`.
    """
    num_states, num_edges = len(states), len(options[0]) // len(states)
    x = side_by_side(states) if num_states > 1 else states[0]
    reading, total = Reading(x, num_states, num_edges), None
    pairs = zip(cast(Sequence[Sequence[Op]], options), scales, strict=True)
    for ops, scale in sorted(pairs, key=lambda pair: _is_shared(pair[0][0])):
        if _is_shared(ops[0]):
            total = _add_shared(total, ops, scale, reading)
        else:
            found = _own(ops, scale.repeat_interleave(ops[0].out_channels), reading)
            total = found if total is None else total.add_(found)
    assert total is not None
    return total if num_states == 1 else reduce(add, total.chunk(num_states, dim=1))


def alike(ops: Sequence[nn.Module]) -> bool:
    """Whether the candidates of several edges differ in their parameters alone, and can be merged."""
    return len({repr(op) for op in ops}) == 1 and isinstance(ops[0], Op) and _merges(ops[0].body)


def _merges(body: nn.Module) -> bool:
    if isinstance(body, nn.Sequential):
        return re.fullmatch("(dp|e)+", "".join(map(_kind, body))) is not None
    return isinstance(body, nn.MaxPool2d | nn.AvgPool2d | nn.Identity | Halved | PartAware)


def _kind(layer: nn.Module) -> str:
    """d: a depthwise convolution, p: one of 1x1, e: what works on each channel, as norms do."""
    if isinstance(layer, nn.BatchNorm2d | nn.ReLU):
        return "e"
    if type(layer) is not nn.Conv2d or layer.bias is not None:  # a subclass may compute otherwise
        return "?"
    if layer.groups == 1 and set(layer.kernel_size) == set(layer.stride) == {1}:
        return "p"
    return "d" if layer.groups == layer.in_channels == layer.out_channels else "?"


def _is_shared(op: Op) -> bool:
    """Whether all edges get the same from the operation: it has no parameters, and no statistics that are used."""
    no_norm = op.norm is None or (op.norm.training and not op.norm.affine)
    return no_norm and isinstance(op.body, nn.MaxPool2d | nn.AvgPool2d | nn.Identity)


def _own(ops: Sequence[Op], wide: Tensor, reading: Reading) -> Tensor:
    """`scale * op(x)` of each edge, side by side; `wide` is the scale of each channel."""
    first, bodies = ops[0], [op.body for op in ops]
    x = reading.seen_by(first)
    if isinstance(first.body, PartAware):
        y = _part_aware(cast(Sequence[PartAware], bodies), x, reading.num_states)
    elif isinstance(first.body, Halved):
        y = _projected(bodies, x, reading.num_states)
    elif isinstance(first.body, nn.Sequential):
        y = _sequence(cast(Sequence[nn.Sequential], bodies), first, reading)
    else:
        y = reading.for_edges(first.body(x))
    return wide.view(-1, 1, 1) * y if first.norm is None else _normed([op.norm for op in ops], y, wide)


def _add_shared(total: Tensor | None, ops: Sequence[Op], scale: Tensor, reading: Reading) -> Tensor:
    """The sum with `scale * op(x)` of each edge, where `op(x)` is the same for all edges of a state."""
    y, sizes = ops[0].body(reading.seen_by(ops[0])), (reading.num_states, reading.num_edges)
    if ops[0].norm is not None:
        y = _normed_once([op.norm for op in ops], y, sizes)
    of_all = y.movedim(1, -1).unflatten(-1, (reading.num_states, 1, -1))
    scale = scale.to(y.dtype).view(*sizes, 1)
    if total is None:
        return (scale * of_all).flatten(-3).movedim(-1, 1)
    of_edges = total.movedim(1, -1).unflatten(-1, (*sizes, -1))
    return torch.addcmul(of_edges, scale, of_all).flatten(-3).movedim(-1, 1)


def _sequence(bodies: Sequence[nn.Sequential], op: Op, reading: Reading) -> Tensor:
    """The layers one after the other, each of all edges at once, on their maps side by side `[B, m * C, H, W]`."""
    layers = [*zip(*bodies, strict=True)]
    steps = pixels_hit(layers[0][0]) if _kind(layers[0][0]) == "d" else (1, 1)
    y = reading.repeated(op, steps)
    for place, of_edges in enumerate(layers):
        first, kind = of_edges[0], _kind(of_edges[0])
        if isinstance(first, nn.BatchNorm2d):
            y = _normed(of_edges, y, None)
        elif kind == "e":
            y = first(y)
        elif kind == "d":
            y = thinned(y, pixels_hit(first)) if place else y
            depthwise = torch.cat([layer.weight for layer in of_edges])
            y = _separable(y, *shrunk(first, y, depthwise), _joined(layers[place + 1]))
    return y


def _joined(layers: Sequence[nn.Module]) -> Tensor:
    """The weights of linear layers or 1x1 convolutions `[m, D, C]`."""
    weights = [cast(Tensor, layer.weight) for layer in layers]
    return torch.cat(weights).view(len(weights), *weights[0].shape[:2])


def _separable(
    x: Tensor, depthwise: Tensor, stride: list[int], padding: list[int], dilation: list[int], pointwise: Tensor
) -> Tensor:
    """Depthwise convolutions and 1x1 convolutions behind them, of maps side by side."""
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if casts else x.dtype
    return Separable.apply(x.to(dtype), depthwise.to(dtype), pointwise.to(dtype), stride, padding, dilation)


class Separable(torch.autograd.Function):
    """A depthwise convolution of `[B, m * C, H, W]` and behind it a matrix `[D, C]` for each of the `m`.

    What is between the two is computed again in the backward pass, instead of kept for it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        depthwise: Tensor,
        pointwise: Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        ctx.save_for_backward(x, depthwise, pointwise)
        ctx.how = stride, padding, dilation
        y = F.conv2d(x, depthwise, None, stride, padding, dilation, len(depthwise))
        found = Grouped.apply(_by_edge(y, len(pointwise)), pointwise)
        return found.view(len(x), *y.shape[2:], -1).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, depthwise, pointwise = ctx.saved_tensors
        stride, padding, dilation = ctx.how
        (gradient,), (of_x, of_depthwise, of_pointwise) = gradients, ctx.needs_input_grad[:3]
        edges, found = len(pointwise), None
        after = _by_edge(gradient, edges)
        if of_pointwise:
            y = F.conv2d(x, depthwise, None, stride, padding, dilation, len(depthwise))
            found = torch.bmm(after.permute(1, 2, 0), _by_edge(y, edges).transpose(0, 1))
        between = Grouped.apply(after, pointwise.transpose(1, 2)).view(len(x), *gradient.shape[2:], -1).movedim(-1, 1)
        of_input, of_weight = depthwise_backward(between, x, depthwise, stride, padding, dilation, (of_x, of_depthwise))
        return of_input, of_weight, found, None, None, None


def _by_edge(maps: Tensor, edges: int) -> Tensor:
    """Maps side by side as `[B * H * W, m, C]`."""
    return maps.movedim(1, -1).reshape(-1, edges, maps.shape[1] // edges)


class Grouped(torch.autograd.Function):
    """The products of `[N, m, C]` with a matrix `[D, C]` for each of the `m`: `[N, m, D]`, without copying the maps."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(y, weight)
        found = y.new_empty(len(y), *weight.shape[:2])
        torch.bmm(y.transpose(0, 1), weight.transpose(1, 2), out=found.transpose(0, 1))
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,), (y, weight) = gradients, ctx.saved_tensors
        of_y = Grouped.apply(gradient, weight.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        of_weight = torch.bmm(gradient.permute(1, 2, 0), y.transpose(0, 1)) if ctx.needs_input_grad[1] else None
        return of_y, of_weight


def _part_aware(modules: Sequence[PartAware], x: Tensor, num_states: int) -> Tensor:
    """As `PartAware.quickly`."""
    stripe, share = stripes(x.shape[2], modules[0].num_parts, x.device, x.dtype)
    means = F.relu(share @ x.movedim(1, -1).mean(dim=2))
    weight = torch.cat([module.reduce.weight for module in modules]).view(num_states, -1, x.shape[1] // num_states)
    reduced = Grouped.apply(means.view(-1, num_states, weight.shape[2]), weight.to(x.dtype)).flatten(1)
    parts = _normed([module.norm for module in modules], reduced, None)
    parts = parts.view(len(parts), len(modules), -1).transpose(0, 1).contiguous()
    key = torch.bmm(parts, _joined([module.key for module in modules]).transpose(1, 2))
    query = torch.bmm(parts, _joined([module.query for module in modules]).transpose(1, 2))
    of_image = (-1, means.shape[1], parts.shape[2])
    attention = torch.softmax(key.view(of_image) @ query.view(of_image).transpose(1, 2), dim=2)
    mixed = (attention @ parts.view(of_image)).view_as(parts)
    return _projected([module.project for module in modules], x, num_states, mixed, stripe)


def _projected(
    projections: Sequence[nn.Module],
    x: Tensor,
    num_states: int,
    mixed: Tensor | None = None,
    stripe: Tensor | None = None,
) -> Tensor:
    """As `cpu_kernels.projected`, of all edges: `mixed` is `[k * m, B * P, h]`."""
    convolutions = [
        [each.even, each.odd] if isinstance(each, Halved) else [cast(nn.Conv2d, each)] for each in projections
    ]
    y, stride = x.movedim(1, -1).unflatten(-1, (num_states, -1)), len(convolutions[0])
    found: list[Tensor] = []
    for start, of_edges in enumerate(zip(*convolutions, strict=True)):
        weight = _joined(of_edges)
        seen = y[:, start::stride, start::stride]
        of_map = weight[:, :, : y.shape[-1]].reshape(num_states, -1, y.shape[-1])
        z = Grouped.apply(seen.reshape(-1, *seen.shape[3:]), of_map.to(y.dtype))
        z = z.view(*seen.shape[:3], len(projections), -1)
        if mixed is not None and stripe is not None:
            given = torch.bmm(mixed, weight[:, :, y.shape[-1] :].transpose(1, 2)).transpose(0, 1)
            given = given.reshape(len(x), -1, 1, *z.shape[3:])
            z = z + given.index_select(1, stripe[start::stride])
        below, beside = (z.shape[1] - found[0].shape[1], z.shape[2] - found[0].shape[2]) if found else (0, 0)
        found.append(F.pad(z, (0, 0, 0, 0, 0, -beside, 0, -below)) if below or beside else z)
    return (torch.cat(found, dim=-1) if len(found) > 1 else found[0]).flatten(-2).movedim(-1, 1)


def _normed(norms: Sequence[nn.Module | None], y: Tensor, scale: Tensor | None) -> Tensor:
    """`scale * norm(y)` of maps side by side; each norm keeps its statistics.

    The scale must not be expanded: with a stride of 0 the channels-last backward pass gives wrong gradients.
    """
    of_edges = cast(Sequence[Norm], norms)
    first, shift = of_edges[0], None
    if first.affine:
        own, offset = torch.cat([norm.weight for norm in of_edges]), torch.cat([norm.bias for norm in of_edges])
        scale, shift = (own, offset) if scale is None else (own * scale, offset * scale)
    mean, var = (_joined_statistics(of_edges, name) for name in ("running_mean", "running_var"))
    return F.batch_norm(y, mean, var, scale, shift, first.training, cast(float, first.momentum), first.eps)


def _normed_once(norms: Sequence[nn.Module | None], y: Tensor, sizes: tuple[int, int]) -> Tensor:
    """In training, `norm(y)` of maps `[B, k * C, H, W]` that each of `m` norms without a scale sees, for `(k, m)`."""
    of_edges = cast(Sequence[Norm], norms)
    first = of_edges[0]
    mean, var = (_joined_statistics(of_edges, name) for name in ("running_mean", "running_var"))
    once = mean.new_zeros(2, y.shape[1])
    found = F.batch_norm(y, once[0], once[1], None, None, True, 1.0, first.eps)
    for statistics, now in zip((mean, var), once, strict=True):
        statistics.view(*sizes, -1).lerp_(now.view(sizes[0], 1, -1), cast(float, first.momentum))
    return found


def _joined_statistics(norms: Sequence[Norm], name: str) -> Tensor:
    """The running means or variances of norms as one tensor `[m * C]`, which those of each norm are parts of.

    They are put together where they are not yet, or no longer, as in a copy, on another device, or behind a batch of
    another size, of which more or fewer edges were computed together.
    """
    parts = [getattr(norm, name) for norm in norms]
    joined: Tensor | None = getattr(norms[0], f"joined_{name}", None)
    size = parts[0].nbytes
    if joined is not None and joined.dtype == parts[0].dtype and joined.nbytes == len(parts) * size:
        start = joined.data_ptr()
        if all(part.data_ptr() == start + place * size for place, part in enumerate(parts)):
            return joined
    joined = torch.cat(parts)
    setattr(norms[0], f"joined_{name}", joined)
    for norm, part in zip(norms, joined.split(norms[0].num_features), strict=True):
        setattr(norm, name, part)
    return joined
