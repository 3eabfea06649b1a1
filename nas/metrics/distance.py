"""Exact nearest-first order of a gallery, a block of queries at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Literal["cosine", "euclidean"]
LAST = torch.iinfo(torch.int64).max  # the key of an item that must come after all others
INDEX_BITS = 32


def check_features(query: Tensor, gallery: Tensor) -> None:
    """Raises ValueError unless `query [Q, D]` and `gallery [G, D]` are finite, not empty and of one length D."""
    for name, features in (("query", query), ("gallery", gallery)):
        if features.ndim != 2 or not features.numel():
            raise ValueError(f"{name} features must be [number of images, D], got shape {list(features.shape)}")
        broken = ~torch.linalg.vector_norm(features.float(), dim=1).square().isfinite()
        if broken.any():
            raise ValueError(
                f"{name} features must be finite in float32, got NaN, infinity or a norm that overflows "
                f"in {int(broken.sum())} of {len(features)} rows"
            )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery features must be equally long, got {query.shape[1]} and {gallery.shape[1]}; "
            "extract both with the same network"
        )


def ranking_keys(query: Tensor, gallery: Tensor, distance: Distance, block: int) -> Iterator[tuple[slice, Tensor]]:
    """For each block of queries, its rows and an integer key `[rows, G]` of each gallery item.

    Sorting a row's keys is sorting its distances with ties in gallery order: the key is the float32 distance in its
    upper half and the index in its lower half (`gallery_index` reads it back), so no two are equal and any sort does.
    Distances are computed in float32 whatever the surrounding autocast or matrix-multiplication precision; what is the
    same for a whole row is left out of them (1 for cosine, the query's norm and the root for Euclidean).
    """
    query, gallery = query.detach().float(), gallery.detach().float()
    if distance == "cosine":
        query, gallery = F.normalize(query), F.normalize(gallery)
        offset = gallery.new_zeros(len(gallery))
    else:
        offset = gallery.square().sum(dim=1) / 2
    index = torch.arange(len(gallery), device=gallery.device)
    for start in range(0, len(query), block):
        rows = slice(start, min(start + block, len(query)))
        with _full_float32(query.device):
            far = torch.addmm(offset, query[rows], gallery.T, alpha=-1)
        yield rows, _ordered_bits(far).long().bitwise_left_shift_(INDEX_BITS).add_(index)


def gallery_index(keys: Tensor) -> Tensor:
    """The gallery index in each of `keys`."""
    return keys & ((1 << INDEX_BITS) - 1)


def _ordered_bits(values: Tensor) -> Tensor:
    """int32 numbers in the order of the float32 `values`, which it overwrites; +0.0 and -0.0 are one."""
    bits = values.add_(0.0).view(torch.int32)
    return bits.bitwise_xor_((bits >> 31) & 0x7FFFFFFF)  # a negative float grows with its magnitude's bits: turn them


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32 and no bfloat16 inside a matrix multiplication: each moves mAP in the third digit."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
