"""k-reciprocal re-ranking (Zhong et al., CVPR 2017), exact, sparse and a block at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.metrics.distance import Distance, distances, nearest, unit
from search_spaces.ranges import Count, Ranged, Share

ROUNDING = 1e-6  # of an image's squared norm: smaller distances are none
PAIRS = 256  # whose features are compared at a time: half a MiB of them, which a core keeps in its cache
PAIRS_ON_GPU = 1 << 20
ROWS = 4096  # of sets of images that are formed at a time
TERMS = 1 << 22  # of the Jaccard sums, added at a time


@dataclass(frozen=True, kw_only=True)
class Rerank(Ranged):
    """The parameters of k-reciprocal re-ranking, by the names of the published code."""

    k1: Count = 20
    """Nearest neighbours among which reciprocal ones are looked for."""
    k2: Count = 6
    """Nearest neighbours whose encodings are averaged."""
    lambda_value: Share = 0.3
    """Weight of the original distance in the final one; the rest is the Jaccard distance."""


def reranked_distances(
    query: Tensor, gallery: Tensor, how: Rerank, distance: Distance, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """For each block of queries, its rows and the re-ranked distance `[rows, G]`, in [0, 1], to each gallery item.

    Equals the published code, computed for the images of query and gallery together: squared Euclidean distances (of
    L2-normalised features for `distance="cosine"`) divided by the image's largest; the k1 + 1 nearest, itself among
    them; reciprocal sets, expanded by those of `round(k1 / 2)` neighbours that lie in them by more than two thirds;
    Gaussian weights; encodings averaged over the k2 nearest; Jaccard distance. Deviations: equally near images are
    neighbours in the order query, gallery (the published order of ties is the sorting algorithm's), and images that
    are all alike are at distance 0 (published: 0 / 0). Features must have passed `check_features`.
    """
    images = torch.cat([query, gallery]).detach().float()
    if distance == "cosine":
        images = unit(images)
    neighbours, farthest = _neighbours(images, max(how.k1 + 1, how.k2), block)
    encodings = _averaged(_encodings(images, neighbours, farthest, how.k1), neighbours[:, : how.k2])
    by_column = encodings.transposed(first=len(query))
    queries, others = images[: len(query)], images[len(query) :]
    own = queries.square().sum(dim=1)
    for rows, far in distances(queries, others, "euclidean", block):
        original = far.mul_(2).add_(own[rows, None]).div_(farthest[rows, None]).clamp_(0, 1)
        jaccard = _jaccard(encodings, by_column, rows, len(gallery))
        yield rows, jaccard.lerp_(original, how.lambda_value)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sparse:
    """A square sparse matrix: row i holds `value[start[i]:start[i + 1]]`, in the columns `column[...]`."""

    start: Tensor
    column: Tensor
    value: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, value: Tensor, size: int) -> "_Sparse":
        """From entries that are sorted by `row`."""
        start = torch.searchsorted(row, torch.arange(size + 1, device=row.device))
        return cls(start=start, column=column, value=value)

    def entries(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of all entries in `rows [M]`, one row after the other: the place in `rows`, and the index in `value`."""
        first, count = self.start[rows], self.start[rows + 1] - self.start[rows]
        place = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        return place, torch.arange(len(place), device=rows.device) + (first - before)[place]

    def transposed(self, first: int) -> "_Sparse":
        """The transpose of the rows from `first` on, which are counted from 0."""
        rows = torch.arange(first, len(self.start) - 1, device=self.start.device)
        place, index = self.entries(rows)
        column, order = self.column[index].sort(stable=True)
        return _Sparse.of(column, place[order], self.value[index[order]], len(self.start) - 1)


def _neighbours(images: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """The k nearest images `[N, k]` of each, itself among them, and its largest squared distance `[N]`."""
    neighbours = torch.empty(len(images), min(k, len(images)), dtype=torch.int64, device=images.device)
    square = images.square().sum(dim=1)
    farthest = square.clone()
    for rows, far in distances(images, images, "euclidean", block):
        neighbours[rows] = nearest(far, k)
        farthest[rows] += 2 * far.amax(dim=1)
    return neighbours, farthest.where(farthest > ROUNDING * square, 1.0)


def _encodings(images: Tensor, neighbours: Tensor, farthest: Tensor, k1: int) -> _Sparse:
    """The rows of weights V: `exp(-distance)` within each image's expanded reciprocal set, as shares of their sum."""
    wide = _reciprocal(neighbours[:, : k1 + 1])
    narrow = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    count, column = (torch.cat(part) for part in zip(*(_expanded(of, narrow) for of in wide.split(ROWS)), strict=True))
    row = torch.repeat_interleave(count)
    far = torch.empty(len(row), device=row.device)
    size = PAIRS if row.device.type == "cpu" else PAIRS_ON_GPU
    for start in range(0, len(row), size):
        pairs = slice(start, start + size)
        far[pairs] = (images[row[pairs]] - images[column[pairs]]).square_().sum(dim=1)
    weight = (far / farthest[row]).neg_().exp_()
    total = weight.new_zeros(len(images)).index_add_(0, row, weight)
    return _Sparse.of(row, column, weight / total[row], len(images))


def _reciprocal(neighbours: Tensor) -> Tensor:
    """`neighbours [N, k]` with -1 in place of those that do not have the image among their own."""
    image = torch.arange(len(neighbours), device=neighbours.device)[:, None, None]
    parts = zip(neighbours.split(ROWS), image.split(ROWS), strict=True)
    return torch.cat([of.where((neighbours[of] == i).any(dim=2), -1) for of, i in parts])


def _expanded(wide: Tensor, narrow: Tensor) -> tuple[Tensor, Tensor]:
    """The expanded reciprocal sets of a block of images: their sizes `[rows]`, and their members one after the other.

    A member's own narrow set joins when more than two thirds of it are members already.
    """
    added = narrow[wide].masked_fill(wide[:, :, None] < 0, -1)  # [rows, k, h]
    members = wide.sort(dim=1).values
    flat = added.flatten(1)
    place = torch.searchsorted(members, flat).clamp_max_(members.shape[1] - 1)
    shared = ((members.gather(1, place) == flat) & (flat >= 0)).view_as(added)
    joins = 3 * shared.sum(dim=2) > 2 * (added >= 0).sum(dim=2)
    joined = added.masked_fill(~joins[:, :, None], -1).flatten(1)
    every = torch.cat([wide, joined], dim=1).sort(dim=1).values
    new = every >= 0
    new[:, 1:] &= every[:, 1:] != every[:, :-1]
    return new.sum(dim=1), every[new]


def _averaged(encodings: _Sparse, neighbours: Tensor) -> _Sparse:
    """The mean of the encodings of each image's `neighbours [N, k2]`."""
    size, k2 = neighbours.shape
    parts = []
    for start in range(0, size, ROWS):
        of = neighbours[start : start + ROWS]
        place, index = encodings.entries(of.flatten())
        key, place = torch.unique((start + place // k2) * size + encodings.column[index], return_inverse=True)
        parts.append((key, encodings.value.new_zeros(len(key)).index_add_(0, place, encodings.value[index] / k2)))
    key, value = (torch.cat(column) for column in zip(*parts, strict=True))
    return _Sparse.of(key // size, key % size, value, size)


def _jaccard(encodings: _Sparse, by_column: _Sparse, rows: slice, num_gallery: int) -> Tensor:
    """Jaccard distances `[rows, G]`: `1 - s / (2 - s)` with `s = sum min(V_q, V_g)`, added column by column."""
    image = torch.arange(rows.start, rows.stop, device=encodings.start.device)
    query, entry = encodings.entries(image)
    column, value = encodings.column[entry], encodings.value[entry]
    num_terms = by_column.start[column + 1] - by_column.start[column]
    every = torch.arange(0, int(num_terms.sum()), TERMS, device=column.device)
    cuts = torch.searchsorted(num_terms.cumsum(0), every)
    smaller = value.new_zeros(len(image) * num_gallery)
    for part in torch.arange(len(column), device=column.device).tensor_split(cuts.cpu()):
        place, index = by_column.entries(column[part])
        term = torch.minimum(value[part][place], by_column.value[index])
        smaller.scatter_add_(0, (query[part] * num_gallery)[place] + by_column.column[index], term)
    smaller = smaller.view(len(image), num_gallery)
    return 1 - smaller / (2 - smaller)
