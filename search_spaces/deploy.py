"""The form of a network that runs on a camera: it says the same with less work, for images of one size."""

from __future__ import annotations

import copy
from collections import Counter
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from search_spaces.ops import Halved, PartAware, stripe_of_row

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, Halved, PartAware)
"""What is linear in its last step, so that a BatchNorm behind it can become a part of it."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def deploy(net: nn.Module, images: Tensor) -> nn.Module:
    """A copy of `net` on the CPU in eval mode; of images `[B, 3, H, W]` as large as these it says the same.

    BatchNorms are folded into the layers before them, where nothing else reads what those give. Part-aware modules get
    their stripes as constant matrices, and project each stripe once instead of each of its pixels. A network that
    answers with other than a tensor stays as it is.
    """
    net, images = copy.deepcopy(net).cpu().eval().requires_grad_(False), images.cpu()
    if not isinstance(net(images), Tensor):
        return net
    for layer, norm in _norms_behind(net, images):
        _fold(layer, *_scale_and_shift(norm))
        _replace(net, norm, nn.Identity())
    for module, (height, width) in _part_aware(net, images).items():
        _replace(net, module, FixedPartAware(module, height, width))
    return net.requires_grad_(False)


class FixedPartAware(nn.Module):
    """A `PartAware` module for maps `[B, C, height, width]`.

    `K Q^T` is `parts (W_k^T W_q) parts^T`, with one matrix between. The projection of the map joined to its stripes is
    that of the map plus that of the stripes.
    """

    average: Tensor
    between: Tensor

    def __init__(self, module: PartAware, height: int, width: int) -> None:
        super().__init__()
        rows, hidden = F.one_hot(stripe_of_row(height, module.num_parts)).float(), module.reduce.out_channels
        self.register_buffer("average", rows / rows.sum(dim=0))
        self.register_buffer("between", module.key.weight.T @ module.query.weight)
        reduce = copy.deepcopy(module.reduce)
        if isinstance(module.norm, NORMS):
            _fold(reduce, *_scale_and_shift(module.norm))
        self.reduce = _linear(reduce.weight.squeeze(2), _bias(reduce))
        if isinstance(module.project, Halved):
            self.padding = (0, width % 2, 0, height % 2)
            below, right = F.pad(rows, (0, 0, 0, height % 2))[1::2], F.pad(torch.ones(width), (0, width % 2))[1::2]
            self.first = Projection(module.project.even, hidden, rows[::2], torch.ones(1))
            self.shifted: Projection | None = Projection(module.project.odd, hidden, below, right)
        else:
            self.first, self.shifted = Projection(module.project, hidden, rows, torch.ones(1)), None

    def forward(self, x: Tensor) -> Tensor:
        parts = self.reduce(F.relu(x.mean(dim=3) @ self.average).transpose(1, 2))
        mixed = torch.softmax(parts @ self.between @ parts.transpose(1, 2), dim=2) @ parts
        if self.shifted is None:
            return self.first(x, mixed)
        padded = F.pad(x, self.padding) if any(self.padding) else x
        return torch.cat([self.first(x, mixed), self.shifted(padded[:, :, 1:, 1:], mixed)], dim=1)


class Projection(nn.Module):
    """`conv`, a 1x1 convolution, of a map `[B, C, H, W]` joined to vectors `[B, P, h]`. Each row of the output has one
    of the vectors, `rows` `[H', P]`; `columns`, `[W']` or `[1]`, are 0 where the joined map is padding."""

    rows: Tensor
    columns: Tensor

    def __init__(self, conv: nn.Conv2d, hidden: int, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        of_map, of_vectors = conv.weight.split([conv.in_channels - hidden, hidden], dim=1)
        self.of_map = nn.Conv2d(of_map.shape[1], conv.out_channels, 1, conv.stride)  # type: ignore[arg-type] # a pair
        self.of_map.weight, self.of_map.bias = _frozen(of_map), _frozen(_bias(conv))
        self.of_vectors = _linear(of_vectors[:, :, 0, 0], None)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.padded = bool((columns == 0).any())

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        spread = (self.rows @ self.of_vectors(vectors)).transpose(1, 2).unsqueeze(3)
        return self.of_map(x) + (spread * self.columns if self.padded else spread)


def _norms_behind(net: nn.Module, images: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Each layer with the norm that alone reads what it gives.

    What nobody else may read is replaced by NaN, and so is seen in the answer if somebody does.
    """
    pairs = _pairs(net, images)
    if pairs and _answers(net, images, pairs):
        return pairs
    return [pair for pair in pairs if _answers(net, images, [pair])]


def _pairs(net: nn.Module, images: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Layers and norms that run once, the norm on the very tensor that the layer gave."""
    calls: Counter[nn.Module] = Counter()
    given: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, NORMS) and module.running_mean is not None and id(inputs[0]) in given:
            pairs.append((given[id(inputs[0])][0], module))
        if isinstance(module, LAYERS):
            given[id(output)] = (module, output)

    _run(net, images, [m.register_forward_hook(note) for m in net.modules() if isinstance(m, (*LAYERS, *NORMS))])
    calls.update(layer for layer, _ in pairs)
    return [(layer, norm) for layer, norm in pairs if calls[layer] == 2 and calls[norm] == 1]


def _answers(net: nn.Module, images: Tensor, pairs: list[tuple[nn.Module, nn.Module]]) -> bool:
    """Whether what the layers give reaches the answer through their norms alone."""
    hidden: dict[nn.Module, Tensor] = {}

    def hide(norm: nn.Module, output: Tensor) -> Tensor:
        hidden[norm] = output
        return torch.full_like(output, torch.nan)

    handles = [
        handle
        for layer, norm in pairs
        for handle in (
            layer.register_forward_hook(lambda module, inputs, output, norm=norm: hide(norm, output)),
            norm.register_forward_pre_hook(lambda module, inputs: (hidden[module],)),
        )
    ]
    return bool(cast(Tensor, _run(net, images, handles)).isfinite().all())


def _part_aware(net: nn.Module, images: Tensor) -> dict[PartAware, tuple[int, int]]:
    """The part-aware modules that see maps of one size, with height and width."""
    seen: dict[PartAware, set[tuple[int, int]]] = {}

    def note(module: PartAware, inputs: tuple[Tensor, ...]) -> None:
        seen.setdefault(module, set()).add((inputs[0].shape[2], inputs[0].shape[3]))

    _run(net, images, [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, PartAware)])
    return {module: next(iter(sizes)) for module, sizes in seen.items() if len(sizes) == 1}


def _run(net: nn.Module, images: Tensor, handles: list[RemovableHandle]) -> object:
    """What `net` answers while the hooks are on it."""
    try:
        return net(images)
    finally:
        for handle in handles:
            handle.remove()


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a BatchNorm in eval mode multiplies each channel by, and then adds."""
    assert isinstance(norm, NORMS) and norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def _fold(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Lets a layer multiply each of its channels and add to it."""
    if isinstance(layer, PartAware):
        return _fold(layer.project, scale, shift)
    if isinstance(layer, Halved):
        even = layer.even.out_channels
        _fold(layer.even, scale[:even], shift[:even])
        _fold(layer.odd, scale[even:], shift[even:])
        return None
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
    layer.weight = _frozen(layer.weight * scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias = _frozen(_bias(layer) * scale + shift)
    return None


def _bias(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = _frozen(weight)
    if bias is not None:
        layer.bias = _frozen(bias)
    return layer


def _frozen(weights: Tensor) -> nn.Parameter:
    return nn.Parameter(weights.contiguous(), requires_grad=False)


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts a module wherever another stands."""
    for module in net.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
