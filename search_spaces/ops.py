"""The candidates of a cell's edge, each `norm(body(relu(x)))`, in the words of DARTS and Auto-ReID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.cpu_kernels import Quick, projected, quickly


class Op(nn.Module):
    """`norm(body(relu(x)))`: the shape that lets a supernet share the ReLU and fold its weight into the norm."""

    def __init__(self, body: nn.Module, out_channels: int, norm: nn.BatchNorm2d | None, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.body = body
        self.norm = norm
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(F.relu(x) if self.relu else x)
        return y if self.norm is None else self.norm(y)

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Exactly `weight * self(x)` for a scalar `weight`, without keeping the unweighted map for the backward pass.

        `rectified()` is `relu(x)`, shared by all operations that read the same state.
        """
        return self.scaled(weight, quickly(self.body, rectified() if self.relu else x))

    def scaled(self, weight: Tensor, y: Tensor) -> Tensor:
        """The same, where `y` is what the body gives."""
        return weight * y if self.norm is None else scaled_norm(self.norm, weight, y)


def scaled_norm(norm: nn.BatchNorm2d, weight: Tensor, y: Tensor) -> Tensor:
    """`weight * norm(y)` as one BatchNorm whose scale (and shift) is `weight` times the norm's own."""
    scale = weight.expand(norm.num_features).contiguous() if norm.weight is None else weight * norm.weight
    shift = None if norm.bias is None else weight * norm.bias
    momentum = cast(float, norm.momentum)  # None is for cumulative averages, which no norm here has
    return F.batch_norm(y, norm.running_mean, norm.running_var, scale, shift, norm.training, momentum, norm.eps)


def kaiming(net: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draws all convolutions anew (He et al. 2015) as torchvision does: for DenseNet by fan-in, else by fan-out."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # a generator takes its time there too
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")


def conv_norm(c_in: int, c_out: int, affine: bool = True) -> Op:
    """ReLU, 1x1 convolution, BatchNorm."""
    return Op(nn.Conv2d(c_in, c_out, 1, bias=False), c_out, nn.BatchNorm2d(c_out, affine=affine), relu=True)


def separable(c: int, kernel: int, stride: int, affine: bool) -> Op:
    """Depthwise-separable convolution applied twice, as in DARTS; the stride is in the first."""
    body = nn.Sequential(
        *_depthwise(c, kernel, stride), nn.BatchNorm2d(c, affine=affine), nn.ReLU(), *_depthwise(c, kernel, 1)
    )
    return Op(body, c, nn.BatchNorm2d(c, affine=affine), relu=True)


def dilated(c: int, kernel: int, stride: int, affine: bool) -> Op:
    """Depthwise-separable convolution with dilation 2."""
    return Op(nn.Sequential(*_depthwise(c, kernel, stride, 2)), c, nn.BatchNorm2d(c, affine=affine), relu=True)


def _depthwise(c: int, kernel: int, stride: int, dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    padding = dilation * (kernel // 2)
    return (nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False))


def pool(kind: type[nn.Module], c: int, stride: int, affine: bool) -> Op:
    """3x3 pooling. In a supernet its map is normalised like the others' (DARTS)."""
    options = {"count_include_pad": False} if kind is nn.AvgPool2d else {}
    norm = None if affine else nn.BatchNorm2d(c, affine=False)
    return Op(kind(3, stride, 1, **options), c, norm, relu=False)


def skip(c: int, stride: int, affine: bool) -> Op:
    """The identity; at stride 2 a factorised reduction."""
    if stride == 1:
        return Op(nn.Identity(), c, None, relu=False)
    return factorized_reduce(c, c, affine)


class Zero(nn.Module):
    """Zeros, where an architecture may choose to have nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def weighted(self, weight: Tensor, x: Tensor, rectified: Callable[[], Tensor]) -> Tensor:
        """Zero, whatever its weight."""
        return torch.zeros_like(x)


class PickingConv(nn.Conv2d):
    """A 1x1 convolution with a stride that picks its pixels first.

    oneDNN (torch 2.15, x86 without AVX-512) writes past its buffers where such a convolution reads fewer than eight
    channels in channels-last memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)


def pointwise(c_in: int, c_out: int, stride: int) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    kind = PickingConv if stride > 1 and c_in < 8 else nn.Conv2d
    return kind(c_in, c_out, 1, stride, bias=False)


class Halved(Quick):
    """Two 1x1 convolutions of stride 2, the second shifted by one pixel, side by side: any size, odd ones too."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.even = pointwise(c_in, c_out // 2, stride=2)
        self.odd = pointwise(c_in, c_out - c_out // 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        shifted = F.pad(x, (-1, x.shape[3] % 2, -1, x.shape[2] % 2))
        return torch.cat([self.even(x), self.odd(shifted)], dim=1)

    def quickly(self, x: Tensor) -> Tensor:
        return projected([self.even, self.odd], x)


def factorized_reduce(c_in: int, c_out: int, affine: bool = True) -> Op:
    """ReLU, the map halved (two of every four pixels are read), BatchNorm."""
    return Op(Halved(c_in, c_out), c_out, nn.BatchNorm2d(c_out, affine=affine), relu=True)


class PartAware(Quick):
    """Auto-ReID's part-aware module without its last norm: stripes attend to each other and are given back to the map.

    The map is cut along its height into `num_parts` stripes (boundaries `floor(i * H / M)`; fewer when H is smaller),
    each averaged to a vector and reduced to `h = C // 3` by ReLU, 1x1 convolution, BatchNorm; `softmax(K Q^T)` over
    the stripes (no scale, no V, no residual) mixes them; each mixed vector is spread over its stripe, joined to the
    map and projected linearly to C channels. No published code constructs the module: this follows the paper's text.
    """

    def __init__(self, c: int, stride: int, affine: bool, num_parts: int = 4) -> None:
        super().__init__()
        self.num_parts = num_parts
        hidden = max(c // 3, 1)
        self.reduce = nn.Conv1d(c, hidden, 1, bias=False)
        self.norm = nn.BatchNorm1d(hidden, affine=affine)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.project = nn.Conv2d(c + hidden, c, 1, bias=False) if stride == 1 else Halved(c + hidden, c)

    def forward(self, x: Tensor) -> Tensor:
        mixed, stripe = self.mixed(x)
        spread = mixed.transpose(1, 2).index_select(2, stripe).unsqueeze(3).expand(-1, -1, -1, x.shape[3])
        return self.project(torch.cat([x, spread.to(x.dtype)], dim=1))

    def mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed vectors `[B, P, h]`, and the stripe of each row `[H]`."""
        stripe = stripe_of_row(x.shape[2], self.num_parts, x.device)
        places = torch.arange(min(self.num_parts, x.shape[2]), device=x.device)
        share = (stripe[:, None] == places).to(x.dtype)
        means = x.mean(dim=3) @ (share / share.sum(dim=0))
        parts = self.norm(self.reduce(F.relu(means))).transpose(1, 2)
        attention = torch.softmax(self.key(parts) @ self.query(parts).transpose(1, 2), dim=2)
        return attention @ parts, stripe

    def quickly(self, x: Tensor) -> Tensor:
        convolutions = [self.project.even, self.project.odd] if isinstance(self.project, Halved) else [self.project]
        return projected(convolutions, x, *self.mixed_quickly(x))

    def mixed_quickly(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same in fewer and smaller steps; BatchNorm takes its statistics over the same numbers."""
        stripe, share = stripes(x.shape[2], self.num_parts, x.device, x.dtype)
        means = share @ x.movedim(1, -1).mean(dim=2)
        reduced = F.linear(F.relu(means), self.reduce.weight.squeeze(2))
        parts = self.norm(reduced.flatten(0, 1)).view_as(reduced)
        attention = torch.softmax(self.key(parts) @ self.query(parts).transpose(1, 2), dim=2)
        return attention @ parts, stripe


def stripe_of_row(height: int, num_parts: int, device: torch.device | None = None) -> Tensor:
    """The stripe that each of `height` rows belongs to `[H]`; stripe i starts at row `floor(i * H / M)`."""
    parts = min(num_parts, height)
    starts = torch.arange(1, parts, device=device) * height // parts
    return torch.bucketize(torch.arange(height, device=device), starts, right=True)


@cache
def stripes(height: int, num_parts: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The stripe of each row `[H]`, and the matrix that averages the rows of each stripe `[P, H]`."""
    with torch.inference_mode(False):  # it is for trainings, too
        stripe = stripe_of_row(height, num_parts, device)
        share = F.one_hot(stripe, min(num_parts, height)).T.to(dtype)
        return stripe, share / share.sum(dim=1, keepdim=True)


def part_aware(c: int, stride: int, affine: bool) -> Op:
    """The part-aware module at either stride."""
    return Op(PartAware(c, stride, affine), c, nn.BatchNorm2d(c, affine=affine), relu=False)


Candidate = Callable[[int, int, bool], Op]

KDAS: Mapping[str, Candidate] = {
    "part": part_aware,
    "max3": lambda c, stride, affine: pool(nn.MaxPool2d, c, stride, affine),
    "avg3": lambda c, stride, affine: pool(nn.AvgPool2d, c, stride, affine),
    "sep3": lambda c, stride, affine: separable(c, 3, stride, affine),
    "dil3": lambda c, stride, affine: dilated(c, 3, stride, affine),
    "skip": skip,
}
"""The candidates of KDAS-ReID and Auto-ReID; the seventh, zero, is a logit of a relaxed edge."""

DARTS: Mapping[str, Candidate] = {
    "max3": KDAS["max3"],
    "avg3": KDAS["avg3"],
    "skip": skip,
    "sep3": KDAS["sep3"],
    "sep5": lambda c, stride, affine: separable(c, 5, stride, affine),
    "dil3": KDAS["dil3"],
    "dil5": lambda c, stride, affine: dilated(c, 5, stride, affine),
}
"""The candidates of DARTS (CIFAR-10), zero aside."""
