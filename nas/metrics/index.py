"""The nearest of a large gallery: exactly, or faster and nearly so by faiss."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nas.metrics.distance import Distance, check_features, distances_to, nearest, pair_distance, prepared, unit

IndexKind = Literal["exact", "hnsw", "ivf"]
LARGEST_BLOCK = 2**26
"""Distances that are held at a time."""
LINKS = 32
"""Of each item in a graph (HNSW's M)."""
LEAST_VISITED = 128
"""Items that a search in a graph keeps at least (efSearch), and likewise while it is built (efConstruction)."""
LEAST_IN_LIST = 39
"""Items for each list of an inverted file, below which faiss finds them too few to place the lists."""
SHARE_VISITED = 8
"""One of so many lists is searched (nprobe)."""


class Index:
    """A gallery `[G, D]` to find the nearest in.

    kind: `exact` compares with all, a block of queries at a time. `hnsw` (a graph of neighbours, Malkov and Yashunin
    2018) and `ivf` (an inverted file) are faiss's and look at a part of the gallery. Raises ValueError for features
    that cannot be compared, and where faiss is missing.
    """

    def __init__(self, gallery: Tensor, distance: Distance = "cosine", kind: IndexKind = "exact") -> None:
        check_kind(kind)
        check_features(gallery[:1], gallery, distance)
        self.gallery, self.distance, self.kind = gallery.float(), distance, kind
        self._exact = prepared(self.gallery, distance) if kind == "exact" else None
        self._faiss = None if kind == "exact" else _faiss_index(self._plain(self.gallery), distance, kind)

    def search(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """For each of `query [Q, D]` the places in the gallery of the k nearest, int64 `[Q, min(k, G)]`, nearest first,
        and their distances: `1 - cos`, or the Euclidean one. Equal distances keep the gallery's order; an index that is
        not exact may find fewer, which are -1 with an infinite distance."""
        check_features(query, self.gallery, self.distance)
        k = min(k, len(self.gallery))
        if self._exact is not None:
            block = max(1, LARGEST_BLOCK // len(self.gallery))
            found = torch.cat([nearest(far, k) for _, far in distances_to(query, self._exact, self.distance, block)])
        else:
            found = self._near(query, k)
        return found, torch.cat([self._apart(*pair) for pair in zip(query.split(512), found.split(512), strict=True)])

    def _apart(self, query: Tensor, found: Tensor) -> Tensor:
        apart = pair_distance(query, self.gallery[found.clamp_min(0)], self.distance)
        return apart.where(found >= 0, torch.inf)

    def _near(self, query: Tensor, k: int) -> Tensor:
        assert self._faiss is not None
        if self.kind == "hnsw":
            self._faiss.hnsw.efSearch = max(LEAST_VISITED, 2 * k)
        return torch.from_numpy(self._faiss.search(self._plain(query), k)[1])

    def _plain(self, features: Tensor) -> np.ndarray:
        features = features.float()
        return (unit(features) if self.distance == "cosine" else features).cpu().numpy()


def check_kind(kind: IndexKind) -> None:
    """Raises ValueError for an unknown index, and where the package that it needs is missing: before features are
    computed."""
    if kind not in get_args(IndexKind):
        raise ValueError(f"an index must be one of {', '.join(get_args(IndexKind))}, got {kind!r}")
    if kind != "exact":
        try:
            import faiss  # noqa: F401 - whether it is there
        except ImportError as error:
            raise ValueError(f"the index {kind} needs the package faiss: pip install 'nas-reid[deploy]'") from error


def _faiss_index(gallery: np.ndarray, distance: Distance, kind: IndexKind) -> Any:
    import faiss

    size = gallery.shape[1]
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    index: Any
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(size, LINKS, metric)
        index.hnsw.efConstruction = LEAST_VISITED
    else:
        num_lists = max(1, min(round(4 * len(gallery) ** 0.5), len(gallery) // LEAST_IN_LIST))
        index = faiss.IndexIVFFlat(faiss.IndexFlat(size, metric), size, num_lists, metric)
        index.nprobe = max(1, -(-num_lists // SHARE_VISITED))
        index.train(gallery)
    index.add(gallery)
    return index


def recall(found: Tensor, exact: Tensor) -> float:
    """The share of the `exact` nearest `[Q, k]` that are among those that were `found` `[Q, k]`."""
    return (exact[:, :, None] == found[:, None, :]).any(dim=2).float().mean().item()
