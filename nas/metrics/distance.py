"""Exact distances of a query set to a gallery, a block of queries at a time, and the nearest of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Literal["cosine", "euclidean"]
GROUP = 16  # items whose least one is looked at for all of them


def check_features(query: Tensor, gallery: Tensor, distance: Distance) -> None:
    """Raises ValueError unless `query [Q, D]` and `gallery [G, D]` are finite, not empty and of one length D.

    A row of zeros has no direction, so it has no cosine distance either.
    """
    for name, features in (("query", query), ("gallery", gallery)):
        if features.ndim != 2 or not features.numel():
            raise ValueError(f"{name} features must be [number of images, D], got shape {list(features.shape)}")
        square = torch.linalg.vector_norm(features.float(), dim=1).square()
        if not square.isfinite().all():
            raise ValueError(
                f"{name} features must be finite in float32, got NaN, infinity or a norm that overflows "
                f"in {_which(~square.isfinite())}"
            )
        if distance == "cosine" and not square.all():
            raise ValueError(
                f"{name} features must not be zero for distance='cosine', got zeros in {_which(square == 0)}; "
                "find out why the network is silent there, or use distance='euclidean'"
            )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery features must be equally long, got {query.shape[1]} and {gallery.shape[1]}; "
            "extract both with the same network"
        )


def distances(query: Tensor, gallery: Tensor, distance: Distance, block: int) -> Iterator[tuple[slice, Tensor]]:
    """For each block of queries, its rows and a number `[rows, G]` that grows with the distance to each gallery item.

    `-cos` for cosine; half the squared distance without the query's part, `|g|^2 / 2 - q.g`, for Euclidean. They are
    computed in float32 whatever the surrounding autocast or matrix-multiplication precision.
    """
    yield from distances_to(query, prepared(gallery, distance), distance, block)


def prepared(gallery: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """The gallery `[G, D]` as `distances_to` takes it, for many calls: in float32, for cosine at length 1, and what is
    added to each of its distances `[G]`."""
    gallery = gallery.detach().float()
    if distance == "cosine":
        return unit(gallery), gallery.new_zeros(len(gallery))
    return gallery, gallery.square().sum(dim=1) / 2


def distances_to(
    query: Tensor, gallery: tuple[Tensor, Tensor], distance: Distance, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """As `distances`, to a gallery that is `prepared`."""
    query, (items, offset) = query.detach().float(), gallery
    query = unit(query) if distance == "cosine" else query
    for start in range(0, len(query), block):
        rows = slice(start, min(start + block, len(query)))
        with _full_float32(query.device):
            far = torch.addmm(offset, query[rows], items.T, alpha=-1)
        yield rows, far


def pair_distance(query: Tensor, others: Tensor, distance: Distance) -> Tensor:
    """The distances `[rows, k]` of each of `query [rows, D]` to its own `others [rows, k, D]`: `1 - cos`, in
    [0, 2], or the Euclidean one."""
    query, others = query.detach().float()[:, None], others.detach().float()
    if distance == "cosine":
        return (1 - F.cosine_similarity(query, others, dim=2, eps=0.0)).clamp(0, 2)
    return (query - others).norm(dim=2)


def unit(features: Tensor) -> Tensor:
    """`features [N, D]`, none of them zero, each at length 1, however short it was."""
    return F.normalize(features, eps=0.0)


def nearest(far: Tensor, k: int) -> Tensor:
    """Indices `[rows, k]` of the k smallest of `far [rows, G]`, smallest first, ties by index; k may be more than G."""
    if far.device.type == "cpu" and 0 < k * GROUP <= far.shape[1] // 2:
        return torch.from_numpy(_nearest_of_many(far.numpy(), k))
    value, index = far.topk(min(k + 1, far.shape[1]), largest=False)
    index = index[:, :k].sort(dim=1).values
    index = index.gather(1, stable_order(far.gather(1, index)))
    if value.shape[1] > k:
        tied = value[:, k - 1] == value[:, k]  # topk took any of them
        index[tied] = stable_order(far[tied])[:, :k]
    return index


def _nearest_of_many(far: np.ndarray, k: int) -> np.ndarray:
    """As `nearest`. The k-th of the least of each group of items bounds the k-th of all items, and little is below."""
    num_groups = far.shape[1] // GROUP
    least = far[:, : num_groups * GROUP].reshape(len(far), GROUP, num_groups).min(axis=1)
    least.partition(k - 1, axis=1)
    index = np.empty((len(far), k), dtype=np.int64)
    for out, row, bound in zip(index, far, least[:, k - 1], strict=True):
        below = (row <= bound).nonzero()[0]
        out[:] = below[row[below].argsort(kind="stable")[:k]]
    return index


def stable_order(far: Tensor) -> Tensor:
    """Indices that sort each row of `far`, ties by index; +0.0 and -0.0 are one."""
    return (far + 0.0).sort(dim=1, stable=True).indices


def _which(broken: Tensor) -> str:
    return f"{int(broken.sum())} of {len(broken)} rows, the first of them row {int(broken.nonzero()[0])}"


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
