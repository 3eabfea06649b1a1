"""Boxes, anchors and regions of maps: pure functions. Boxes are `[N, 4]` as `(x1, y1, x2, y2)`, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from students.losses import at_least_float32, without_autocast

Weights = tuple[float, float, float, float]

PLAIN: Weights = (1.0, 1.0, 1.0, 1.0)
LEAST_SIDE = 1e-3
"""Of a box that is kept, in pixels."""
MAX_GROWTH = math.log(1000 / 16)
"""No box is decoded to more than e to this times its reference's size (as in Detectron)."""


def roi_align(
    features: Tensor, boxes: Sequence[Tensor], size: tuple[int, int], stride: float, samples: int = 2
) -> Tensor:
    """The maps `features [B, C, H, W]` inside each image's boxes, `[R, C, *size]` (He et al. 2017, aligned).

    A map's pixel stands for `stride` pixels of the boxes. Each bin is the mean of `samples x samples` points. Points on
    a grid are interpolated along rows and along columns one after the other, so each region is `Wy @ map @ Wx^T`: the
    numbers of `torchvision.ops.roi_align(aligned=True)`, differentiable twice by the map and the same on every device.
    """
    height, width = features.shape[2:]
    pooled = []
    with without_autocast(features):
        for image, at in zip(at_least_float32(features), boxes, strict=True):
            at = at.detach().to(image.dtype) / stride
            rows = _interpolation(at[:, 1], at[:, 3], size[0], height, samples)
            columns = _interpolation(at[:, 0], at[:, 2], size[1], width, samples)
            strips = rows.flatten(0, 1) @ image  # [C, R * size[0], W]: all regions in one product
            strips = strips.unflatten(1, (-1, size[0])).transpose(0, 1).flatten(1, 2)
            pooled.append((strips @ columns.transpose(1, 2)).unflatten(1, (-1, size[0])))
    return torch.cat(pooled)


def _interpolation(low: Tensor, high: Tensor, num_bins: int, length: int, samples: int) -> Tensor:
    """How much each of `length` pixels counts in each bin of the intervals `[R, num_bins, length]`.

    Points up to a pixel outside take the border's value, those beyond it 0.
    """
    steps = (torch.arange(num_bins * samples, device=low.device, dtype=low.dtype) + 0.5) / (num_bins * samples)
    points = low[:, None] - 0.5 + steps * (high - low)[:, None]
    inside = (points >= -1) & (points <= length)
    pixels = torch.arange(length, device=low.device, dtype=low.dtype)
    shares = (1 - (points.clamp(0, length - 1)[..., None] - pixels).abs()).clamp_min(0) * inside[..., None]
    return shares.unflatten(1, (num_bins, samples)).mean(dim=2)


def place_anchors(
    height: int,
    width: int,
    stride: int,
    sizes: Sequence[float],
    ratios: Sequence[float],
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The anchors of a map of `height x width` pixels, `[height * width * len(ratios) * len(sizes), 4]`.

    Around each pixel's upper left corner there is a box of each ratio (height over width) and, within that, of each
    size (the square root of its area), rounded to whole pixels as in torchvision.
    """
    roots = torch.tensor(ratios, device=device, dtype=dtype).sqrt()[:, None]
    wide = torch.tensor(sizes, device=device, dtype=dtype)
    halves = torch.stack([wide / roots, wide * roots], dim=2).flatten(0, 1) / 2
    around = torch.cat([-halves, halves], dim=1).round()
    y, x = (stride * torch.arange(number, device=device, dtype=dtype) for number in (height, width))
    corners = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=2).repeat(1, 1, 2)
    return (corners[:, :, None] + around).flatten(0, 2)


def encode(boxes: Tensor, references: Tensor, weights: Weights = PLAIN) -> Tensor:
    """How to get from `references` to `boxes`: shift of the centre over size, and log of the sizes' ratio, weighted."""
    centre, size = _centre_and_size(boxes)
    from_centre, from_size = _centre_and_size(references)
    return torch.cat([(centre - from_centre) / from_size, (size / from_size).log()], dim=-1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, references: Tensor, weights: Weights = PLAIN) -> Tensor:
    """The inverse of `encode`, with no side more than 62.5 times the reference's."""
    shift, growth = (deltas / deltas.new_tensor(weights)).chunk(2, dim=-1)
    from_centre, from_size = _centre_and_size(references)
    centre, half = from_centre + shift * from_size, from_size * growth.clamp(max=MAX_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes.chunk(2, dim=-1)
    return low + (high - low) / 2, high - low


def targets(boxes: Tensor, references: Tensor, index: Tensor, labels: Tensor, weights: Weights = PLAIN) -> Tensor:
    """How to get from each of `references [N, 4]` to the one of `boxes [M, 4]` that it stands for: see `match`.

    0 where the label is not 1.
    """
    if not len(boxes):
        return torch.zeros_like(references)
    return encode(boxes[index], references, weights).where((labels == 1)[:, None], 0.0)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """The boxes `[N, 4]` as far as they are in an image of `size [2]`, height and width."""
    limits = size.flip(0).repeat(2).to(boxes)
    return torch.minimum(boxes.clamp_min(0), limits)


def match(
    overlaps: Tensor, positive: float, negative: float, ignored: float = 0.0, keep_best: bool = False
) -> tuple[Tensor, Tensor]:
    """Which of M boxes each of N candidates stands for, from their IoU `overlaps [M, N]`: its index and label `[N]`.

    The label is 1 from `positive` on, 0 from `ignored` to below `negative`, else -1. `keep_best`: the candidates that
    overlap a box most are positive too, however little, for the box that they overlap most themselves (Faster R-CNN).
    An image without boxes is all background.
    """
    num_boxes, num = overlaps.shape
    if not num_boxes:
        none = torch.zeros(num, dtype=torch.int64, device=overlaps.device)
        return none, none
    best, index = overlaps.max(dim=0)
    labels = torch.where(best >= positive, 1, torch.where((best < negative) & (best >= ignored), 0, -1))
    if keep_best:
        most = overlaps.amax(dim=1, keepdim=True)
        labels = torch.where(((overlaps == most) & (most > 0)).any(dim=0), 1, labels)
    return index, labels


def sample(labels: Tensor, number: int, share: float, generator: torch.Generator) -> Tensor:
    """A mask of at most `number` candidates by chance: of the positives up to a `share`, the rest of the negatives.

    `labels [N]` as `match` gives them. The choice is that of a CPU's generator, on every device.
    """
    keys = torch.rand(len(labels), generator=generator, device=generator.device).to(labels.device)
    positives = _first(labels == 1, keys, round(number * share))
    return positives | _first(labels == 0, keys, number - positives.sum())


def _first(mask: Tensor, keys: Tensor, number: int | Tensor) -> Tensor:
    """Of those in `mask`, the `number` with the smallest keys."""
    return mask & (keys.masked_fill(~mask, 2).argsort().argsort() < number)


def choose(boxes: Tensor, scores: Tensor, overlap: float, most: int, num_scored: int | None = None) -> Tensor:
    """The indices of at most `most` boxes, the highest score first, none with an IoU above `overlap` with one before.

    Only the `num_scored` highest are looked at; None: all. Boxes less than a thousandth of a pixel high or wide are
    left out, unless there are no others. On the meta device nothing is left out.
    """
    order = scores.argsort(descending=True, stable=True)[:num_scored]
    if order.is_meta:
        return order[:most]
    large = order[((boxes[order, 2:] - boxes[order, :2]) >= LEAST_SIDE).all(dim=1)]
    order = large if len(large) else order[:1]
    return order[nms(boxes[order], scores[order], overlap)[:most]]
