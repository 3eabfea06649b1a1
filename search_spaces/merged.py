"""The candidates of all edges that read one state, computed together.

A supernet's cell has many small operations of the same kind on the same map. Here those of `m` edges are one: what
belongs to an edge lies side by side in the channels, `[B, m * C, H, W]`, the edges' weights are the scales of one
BatchNorm. Loss and gradients are those of the edges one by one but for rounding; parameters and statistics are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.cpu_kernels import convolved
from search_spaces.ops import Halved, Op, PartAware, stripes

Norm = nn.BatchNorm1d | nn.BatchNorm2d


class Reading:
    """A state as its candidates see it; what several of them need is computed once. `m` is the number of edges."""

    def __init__(self, x: Tensor, num_edges: int) -> None:
        self.x, self.num_edges = x, num_edges
        self._made: dict[str, Tensor] = {}

    @property
    def rectified(self) -> Tensor:
        return self._once("rectified", lambda: F.relu(self.x))

    @property
    def repeated(self) -> Tensor:
        """The rectified map for each edge `[B, m * C, H, W]`."""
        return self._once("repeated", lambda: side_by_side(self.rectified, self.num_edges))

    def _once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def side_by_side(x: Tensor, times: int) -> Tensor:
    """The map side by side with itself, channels last."""
    return x.movedim(1, -1).unsqueeze(-2).expand(-1, -1, -1, times, -1).flatten(-2).movedim(-1, 1)


def merged(options: Sequence[Sequence[nn.Module]], scales: Tensor, x: Tensor) -> Tensor:
    """What `m` edges give that read `x` `[B, C, H, W]`, side by side `[B, m * C', H', W']`.

    options: by option the candidate of each edge, `alike`; scales: their weights `[num_options, m]`.
    """
    reading, total = Reading(x, len(options[0])), None
    ones = cast(Sequence[Sequence[Op]], options)
    shared = [_is_shared(ops[0]) for ops in ones]
    for ops, scale, is_shared in zip(ones, scales, shared, strict=True):
        if not is_shared:
            found = _own(ops, scale.repeat_interleave(ops[0].out_channels), reading)
            total = found if total is None else total.add_(found)
    for ops, scale, is_shared in zip(ones, scales, shared, strict=True):
        if is_shared:
            total = _add_shared(total, ops, scale, reading)
    assert total is not None
    return total


def alike(ops: Sequence[nn.Module]) -> bool:
    """Whether the candidates of several edges differ in their parameters alone, and can be merged."""
    return len({repr(op) for op in ops}) == 1 and isinstance(ops[0], Op) and _merges(ops[0].body)


def _merges(body: nn.Module) -> bool:
    if isinstance(body, nn.Sequential):
        return all(isinstance(layer, nn.BatchNorm2d | nn.ReLU) or _is_plain(layer) for layer in body)
    return isinstance(body, nn.MaxPool2d | nn.AvgPool2d | nn.Identity | Halved | PartAware)


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.bias is None and (_is_depthwise(layer) or _is_pointwise(layer))


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels == conv.out_channels


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return set(conv.kernel_size) == set(conv.stride) == {1} and conv.groups == 1


def _is_shared(op: Op) -> bool:
    """Whether all edges get the same from the operation: it has no parameters, and no statistics that are used."""
    no_norm = op.norm is None or (op.norm.training and not op.norm.affine)
    return no_norm and isinstance(op.body, nn.MaxPool2d | nn.AvgPool2d | nn.Identity)


def _own(ops: Sequence[Op], wide: Tensor, reading: Reading) -> Tensor:
    """`scale * op(x)` of each edge, side by side; `wide` is the scale of each channel."""
    first, bodies = ops[0], [op.body for op in ops]
    if isinstance(first.body, PartAware):
        y = _part_aware(cast(Sequence[PartAware], bodies), reading.x)
    elif isinstance(first.body, Halved):
        y = _projected(bodies, reading.rectified if first.relu else reading.x)
    elif isinstance(first.body, nn.Sequential):
        repeated = reading.repeated if first.relu else side_by_side(reading.x, len(ops))
        y = _sequence(cast(Sequence[nn.Sequential], bodies), repeated)
    else:
        y = side_by_side(first.body(reading.rectified if first.relu else reading.x), len(ops))
    return wide.view(-1, 1, 1) * y if first.norm is None else _normed([op.norm for op in ops], y, wide)


def _add_shared(total: Tensor | None, ops: Sequence[Op], scale: Tensor, reading: Reading) -> Tensor:
    """The sum with `scale * op(x)` of each edge, where `op(x)` is the same for all."""
    y = ops[0].body(reading.rectified if ops[0].relu else reading.x)
    if ops[0].norm is not None:
        y = _normed([op.norm for op in ops], y, None)
    of_all, scale = y.movedim(1, -1).unsqueeze(-2), scale.to(y.dtype).unsqueeze(1)
    if total is None:
        return (scale * of_all).flatten(-2).movedim(-1, 1)
    of_edges = total.movedim(1, -1).unflatten(-1, (len(ops), -1))
    return torch.addcmul(of_edges, scale, of_all).flatten(-2).movedim(-1, 1)


def _sequence(bodies: Sequence[nn.Sequential], y: Tensor) -> Tensor:
    """The layers one after the other, each of all edges at once, on their maps side by side `[B, m * C, H, W]`."""
    for layers in zip(*bodies, strict=True):
        first = layers[0]
        if isinstance(first, nn.BatchNorm2d):
            y = _normed(layers, y, None)
        elif not isinstance(first, nn.Conv2d):
            y = first(y)
        elif _is_pointwise(first):
            y = _pointwise(_joined(layers), y)
        else:
            y = convolved(first, y, torch.cat([layer.weight for layer in layers]))
    return y


def _joined(layers: Sequence[nn.Module]) -> Tensor:
    """The weights of linear layers or 1x1 convolutions `[m, D, C]`."""
    weights = [cast(Tensor, layer.weight) for layer in layers]
    return torch.cat(weights).view(len(weights), *weights[0].shape[:2])


def _pointwise(weight: Tensor, y: Tensor) -> Tensor:
    """1x1 convolutions `[m, D, C]` of maps side by side, as products of matrices."""
    edges, c_out, c_in = weight.shape
    found = Grouped.apply(y.movedim(1, -1).reshape(-1, edges, c_in), weight.to(y.dtype))
    return found.view(len(y), *y.shape[2:], edges * c_out).movedim(-1, 1)


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


def _part_aware(modules: Sequence[PartAware], x: Tensor) -> Tensor:
    """As `PartAware.quickly`."""
    stripe, share = stripes(x.shape[2], modules[0].num_parts, x.device, x.dtype)
    means = share @ x.movedim(1, -1).mean(dim=2)
    reduced = F.linear(F.relu(means), torch.cat([module.reduce.weight for module in modules]).squeeze(2))
    parts = _normed([module.norm for module in modules], reduced.flatten(0, 1), None)
    parts = parts.view(*reduced.shape[:2], len(modules), -1).permute(2, 0, 1, 3).flatten(1, 2).contiguous()
    key = torch.bmm(parts, _joined([module.key for module in modules]).transpose(1, 2))
    query = torch.bmm(parts, _joined([module.query for module in modules]).transpose(1, 2))
    of_image = (-1, *reduced.shape[1:2], parts.shape[2])
    attention = torch.softmax(key.view(of_image) @ query.view(of_image).transpose(1, 2), dim=2)
    mixed = (attention @ parts.view(of_image)).view_as(parts)
    return _projected([module.project for module in modules], x, mixed, stripe)


def _projected(
    projections: Sequence[nn.Module], x: Tensor, mixed: Tensor | None = None, stripe: Tensor | None = None
) -> Tensor:
    """As `cpu_kernels.projected`, of all edges: `mixed` is `[m, B * P, h]`."""
    convolutions = [
        [each.even, each.odd] if isinstance(each, Halved) else [cast(nn.Conv2d, each)] for each in projections
    ]
    y, stride, edges = x.movedim(1, -1), len(convolutions[0]), len(projections)
    found: list[Tensor] = []
    for start, of_edges in enumerate(zip(*convolutions, strict=True)):
        weight = _joined(of_edges)
        z = F.linear(y[:, start::stride, start::stride], weight[:, :, : x.shape[1]].flatten(0, 1))
        if mixed is not None and stripe is not None:
            given = torch.bmm(mixed, weight[:, :, x.shape[1] :].transpose(1, 2))
            given = given.view(edges, len(x), -1, given.shape[2]).permute(1, 2, 0, 3).flatten(2)
            z = z + given.index_select(1, stripe[start::stride]).unsqueeze(2)
        below, beside = (z.shape[1] - found[0].shape[1], z.shape[2] - found[0].shape[2]) if found else (0, 0)
        z = F.pad(z, (0, 0, 0, -beside, 0, -below)) if below or beside else z
        found.append(z.unflatten(-1, (edges, -1)))
    return (torch.cat(found, dim=-1) if len(found) > 1 else found[0]).flatten(-2).movedim(-1, 1)


def _normed(norms: Sequence[nn.Module | None], y: Tensor, scale: Tensor | None) -> Tensor:
    """`scale * norm(y)` of maps side by side, or in training of one that all norms see; each keeps its statistics.

    The scale must not be expanded: with a stride of 0 the channels-last backward pass gives wrong gradients.
    """
    of_edges = cast(Sequence[Norm], norms)
    first, shift = of_edges[0], None
    if first.affine:
        own, offset = torch.cat([norm.weight for norm in of_edges]), torch.cat([norm.bias for norm in of_edges])
        scale, shift = (own, offset) if scale is None else (own * scale, offset * scale)
    mean, var = (_joined_statistics(of_edges, name) for name in ("running_mean", "running_var"))
    momentum, channels = cast(float, first.momentum), first.num_features
    if y.shape[1] == len(mean):
        return F.batch_norm(y, mean, var, scale, shift, first.training, momentum, first.eps)
    once = mean.new_zeros(2, channels)
    found = F.batch_norm(y, once[0], once[1], scale, shift, True, 1.0, first.eps)
    for statistics, now in zip((mean, var), once, strict=True):
        statistics.view(-1, channels).lerp_(now, momentum)
    return found


def _joined_statistics(norms: Sequence[Norm], name: str) -> Tensor:
    """The running means or variances of norms as one tensor `[m * C]`, which those of each norm are parts of.

    They are put together where they are not yet, or no longer, as in a copy or on another device.
    """
    parts = [getattr(norm, name) for norm in norms]
    joined: Tensor | None = getattr(norms[0], f"joined_{name}", None)
    if joined is not None and joined.dtype == parts[0].dtype:
        start, size = joined.data_ptr(), parts[0].nbytes
        if all(part.data_ptr() == start + place * size for place, part in enumerate(parts)):
            return joined
    joined = torch.cat(parts)
    setattr(norms[0], f"joined_{name}", joined)
    for norm, part in zip(norms, joined.split(norms[0].num_features), strict=True):
        setattr(norm, name, part)
    return joined
