"""Retrieval as re-identification measures it: CMC, mAP and mINP of a query set against a gallery.

Exact, and a block of queries at a time: memory grows with `block * gallery`, never with `queries * gallery`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nas.metrics.distance import Distance, check_features, distances, nearest, pair_distance, stable_order
from nas.metrics.rerank import Rerank, reranked_distances

AveragePrecision = Literal["plain", "trapezoid"]
SameCamera = Literal["remove", "keep"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieval:
    """What a query set found in a gallery. Means are over the queries that have a match; all values are in [0, 1].

    `cmc [max_rank]`: share of queries with a match among the first k+1. `average_precision [Q]` (nan) and
    `first_match_rank [Q]` (1-based; 0) mark skipped queries so. `mINP`: mean of `matches / rank of the last match`.
    `nearest [Q, num_nearest]`: gallery indices, -1 where no more are left, and `nearest_distance`, nan there.
    `distance` is None where the distances were given.
    """

    mAP: float
    mINP: float
    cmc: np.ndarray
    average_precision: np.ndarray
    first_match_rank: np.ndarray
    nearest: np.ndarray
    nearest_distance: np.ndarray
    num_queries: int
    num_skipped: int
    distance: Distance | None
    ap: AveragePrecision
    same_camera: SameCamera
    rerank: Rerank | None = None

    def rank(self, k: int) -> float:
        """CMC at k: share of queries with a match among the k nearest."""
        return rank_of(self.cmc, k)

    def summary(self) -> dict[str, Any]:
        """The numbers a paper prints, with the definitions they depend on; JSON takes it as it is."""
        ranks = {f"rank-{k}": self.rank(k) for k in (1, 5, 10, 20) if k <= len(self.cmc)}
        counts = {"num_queries": self.num_queries, "num_skipped": self.num_skipped}
        rules: dict[str, Any] = {"ap": self.ap, "distance": self.distance, "same_camera": self.same_camera}
        rules |= {"rerank": self.rerank and asdict(self.rerank)}
        return {"mAP": self.mAP, "mINP": self.mINP} | ranks | counts | rules


def evaluate_retrieval(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    distance: Distance = "cosine",
    ap: AveragePrecision = "plain",
    same_camera: SameCamera = "remove",
    rerank: Rerank | None = None,
    max_rank: int = 50,
    num_nearest: int = 0,
    block: int = 256,
) -> Retrieval:
    """Ranks `gallery [G, D]` for each of `query [Q, D]`, on their device, by float32 distances (ties in gallery order).

    Junk is left out of a query's ranking: gallery items of an id below 0, and those of its own identity *and* camera
    (unless `same_camera="keep"`). The rest of its identity are its matches, all else is wrong. Queries without a match
    are skipped and counted. With matches i = 1..n at 0-based ranks r_i, the average precision is

    - `"plain"`: `1/n * sum i/(r_i+1)`, as most papers since 2018;
    - `"trapezoid"`: `1/n * sum (i/(r_i+1) + (i-1)/r_i) / 2`, the second term 1 at r_i = 0, as the MATLAB code of
      Market-1501 and VeRi-776. It is 0.4 to 1.0 points lower.

    With `rerank`, the distances are those of `reranked_distances`, to which the whole gallery contributes. With
    `num_nearest`, the result says which gallery items come first for each query, and how far they are.

    Raises ValueError, before any distance is computed, for what does not fit together, for NaN, infinity or (cosine)
    zero features, for missing cameras, for a query of an unknown camera (below 0), and when no query has a match.
    """
    _check_choices(distance=(distance, Distance), ap=(ap, AveragePrecision), same_camera=(same_camera, SameCamera))
    check_counts(max_rank=max_rank, block=block)
    check_features(query, gallery, distance)
    ids = _labels("ids", query, gallery, query_ids, gallery_ids)
    wanted = _Wanted.of(ids, _cameras(query, gallery, query_cameras, gallery_cameras, same_camera))
    wanted.check_any_match(block)

    found = []
    for rows, far in _distances(query, gallery, wanted.kept, distance, rerank, block):
        *measured, index, near = _ranked(far, rows, wanted, ap, num_nearest)
        if rerank is None:
            near = pair_distance(query[rows], gallery[index], distance).where(index >= 0, torch.nan)
        found.append((*measured, index, near))
    return _retrieval(found, max_rank, distance=distance, ap=ap, same_camera=same_camera, rerank=rerank)


def evaluate_distances(
    far: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    ap: AveragePrecision = "plain",
    same_camera: SameCamera = "remove",
    max_rank: int = 50,
    block: int = 256,
) -> Retrieval:
    """As `evaluate_retrieval`, from distances `far [Q, G]` of your own, which stay as they are.

    Any floating numbers that grow with the distance; float64 is ranked as it is, all else as float32. Raises
    ValueError as `evaluate_retrieval` does, also for NaN and infinity among the distances.
    """
    _check_choices(ap=(ap, AveragePrecision), same_camera=(same_camera, SameCamera))
    check_counts(max_rank=max_rank, block=block)
    if far.ndim != 2 or not far.numel() or not far.is_floating_point():
        raise ValueError(f"distances must be floating [queries, gallery], got {far.dtype} of shape {list(far.shape)}")
    if not far.sum().isfinite() and not far.isfinite().all():  # a sum is one fast pass, but may itself overflow
        raise ValueError("distances must be finite, got NaN or infinity among them")
    sides = far.detach(), far.detach().T
    ids = _labels("ids", *sides, query_ids, gallery_ids)
    wanted = _Wanted.of(ids, _cameras(*sides, query_cameras, gallery_cameras, same_camera))
    wanted.check_any_match(block)
    found = [_ranked(part, rows, wanted, ap, 0) for rows, part in _copied(far.detach(), wanted.kept, block)]
    return _retrieval(found, max_rank, distance=None, ap=ap, same_camera=same_camera)


def ranked_gallery(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor | None = None,
    gallery_ids: Tensor | None = None,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    k: int = 10,
    distance: Distance = "cosine",
    same_camera: SameCamera = "remove",
    rerank: Rerank | None = None,
    block: int = 256,
) -> Tensor:
    """Indices `[Q, k]` of the k nearest gallery items that are not junk, in `evaluate_retrieval`'s order.

    `query` is `[Q, D]` or one `[D]`. Where fewer than k items are left, the rest of the row is -1. Without identities
    nothing is junk. Raises ValueError as `evaluate_retrieval` does, except that no match is needed.
    """
    query = torch.atleast_2d(query)
    _check_choices(distance=(distance, Distance), same_camera=(same_camera, SameCamera))
    check_counts(k=k, block=block)
    check_features(query, gallery, distance)
    if query_ids is None and gallery_ids is None:
        query_ids, gallery_ids, same_camera = torch.ones(len(query)), torch.zeros(len(gallery)), "keep"
    ids = _labels("ids", query, gallery, query_ids, gallery_ids)
    wanted = _Wanted.of(ids, _cameras(query, gallery, query_cameras, gallery_cameras, same_camera))

    ranked = torch.full((len(query), k), -1, device=query.device)
    for rows, far in _distances(query, gallery, wanted.kept, distance, rerank, block):
        item, _, junk = wanted.matches_and_junk(rows)
        _put_last(far, item, junk)
        ranked[rows] = _first(far, wanted.kept, k)[0]
    return ranked


def cmc_of(first: np.ndarray, num_queries: int, max_rank: int) -> np.ndarray:
    """Of `num_queries`, the share whose first match is among the first k + 1, `[max_rank]`. `first [Q]`: the ranks of
    the first matches, from 1 on; 0 where none was found."""
    return np.bincount(first[first > 0], minlength=max_rank + 1)[1 : max_rank + 1].cumsum() / num_queries


def rank_of(cmc: np.ndarray, k: int) -> float:
    """CMC at k. Raises ValueError where `cmc` does not reach so far."""
    if not 1 <= k <= len(cmc):
        raise ValueError(f"k must be in 1..max_rank={len(cmc)}, got {k}")
    return float(cmc[k - 1])


def is_junk(ids: Tensor) -> Tensor:
    """Which images are in no ranking, and are no match of any query: those of an identity below 0."""
    return ids < 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wanted:
    """Who belongs to whom: `kept [G']` indexes the gallery without junk; everything after it counts within `kept`.

    `by_id [G']` lists the gallery identity by identity; query q's identity fills `by_id[first[q]:first[q] + count[q]]`.
    """

    kept: Tensor
    by_id: Tensor
    first: Tensor
    count: Tensor
    cameras: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, ids: tuple[Tensor, Tensor], cameras: tuple[Tensor, Tensor] | None) -> "_Wanted":
        query_ids, gallery_ids = ids
        kept = (~is_junk(gallery_ids)).nonzero().flatten()
        sorted_ids, by_id = gallery_ids[kept].sort(stable=True)
        query_ids = query_ids.contiguous()
        first = torch.searchsorted(sorted_ids, query_ids)
        count = torch.searchsorted(sorted_ids, query_ids, right=True) - first
        cameras = cameras and (cameras[0], cameras[1][kept])
        return cls(kept=kept, by_id=by_id, first=first, count=count, cameras=cameras)

    def matches_and_junk(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Gallery items of each query's identity, `[rows, K]` padded, and two masks of it: its matches, its junk."""
        first, count = self.first[rows, None], self.count[rows, None]
        column = torch.arange(int(count.max()), device=count.device)
        same_id = column < count
        item = self.by_id[(first + column).where(same_id, 0)]
        if self.cameras is None:
            return item, same_id, torch.zeros_like(same_id)
        query_cameras, gallery_cameras = self.cameras
        same_camera = query_cameras[rows, None] == gallery_cameras[item]
        return item, same_id & ~same_camera, same_id & same_camera

    def check_any_match(self, block: int) -> None:
        starts = range(0, len(self.first), block)
        if not any(self.matches_and_junk(slice(start, start + block))[1].any() for start in starts):
            raise ValueError(
                f"no query has a match: none of {len(self.first)} queries shares its identity with a gallery image"
                + (" of another camera" if self.cameras else "")
                + "; check that query and gallery are of one data set and that ids and cameras are in the right order"
            )


def _distances(
    query: Tensor, gallery: Tensor, kept: Tensor, distance: Distance, rerank: Rerank | None, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """Distances to the `kept` gallery. Junk has a part in re-ranking, as published."""
    if rerank is None:
        yield from distances(query, gallery[kept], distance, block)
    else:
        for rows, far in reranked_distances(query, gallery, rerank, distance, block):
            yield rows, far[:, kept]


def _copied(far: Tensor, kept: Tensor, block: int) -> Iterator[tuple[slice, Tensor]]:
    """The given distances to the `kept` gallery, a block of queries at a time."""
    for start in range(0, len(far), block):
        rows = slice(start, min(start + block, len(far)))
        part = far[rows].clone() if len(kept) == far.shape[1] else far[rows].index_select(1, kept)
        yield rows, part.to(torch.promote_types(far.dtype, torch.float32))


def _ranked(far: Tensor, rows: slice, wanted: _Wanted, ap: AveragePrecision, num_nearest: int) -> tuple[Tensor, ...]:
    """What `_measure` and `_first` say of a block of queries; `far` loses its junk."""
    ranks, num_matches = _match_ranks(far, *wanted.matches_and_junk(rows))
    return *_measure(ranks.cpu(), num_matches.cpu(), ap), *_first(far, wanted.kept, num_nearest)


def _retrieval(found: list[tuple[Tensor, ...]], max_rank: int, **rules: Any) -> Retrieval:
    average_precision, inverse_penalty, first, items, apart = (
        torch.cat(column).cpu().numpy() for column in zip(*found, strict=True)
    )
    has_match = first > 0
    return Retrieval(
        mAP=float(average_precision[has_match].mean()),
        mINP=float(inverse_penalty[has_match].mean()),
        cmc=cmc_of(first, int(has_match.sum()), max_rank),
        average_precision=average_precision,
        first_match_rank=first,
        nearest=items,
        nearest_distance=apart,
        num_queries=len(first),
        num_skipped=int((~has_match).sum()),
        **rules,
    )


def _put_last(far: Tensor, item: Tensor, junk: Tensor) -> None:
    row, column = junk.nonzero(as_tuple=True)
    far[row, item[row, column]] = torch.inf


def _first(far: Tensor, kept: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Gallery indices `[rows, k]` of the first, and their distances; -1 and nan where all that is left is junk."""
    index = far.new_full((len(far), k), -1, dtype=torch.int64)
    near = far.new_full((len(far), k), torch.nan)
    if k:
        order = nearest(far, k)
        distance = far.gather(1, order)
        index[:, : order.shape[1]] = kept[order].where(distance.isfinite(), -1)
        near[:, : order.shape[1]] = distance.where(distance.isfinite(), torch.nan)
    return index, near


def _match_ranks(far: Tensor, item: Tensor, match: Tensor, junk: Tensor) -> tuple[Tensor, Tensor]:
    """0-based ranks `[rows, K]` of each query's matches, ascending and padded, and their number `[rows]`."""
    _put_last(far, item, junk)
    if far.device.type == "cpu":
        ranks = torch.zeros_like(item)
        for out, row, items, wanted in zip(ranks.numpy(), far.numpy(), item.numpy(), match.numpy(), strict=True):
            out[wanted] = ranks_of(row, items[wanted])
    else:
        ranks = stable_order(far).argsort(dim=1).gather(1, item)
    return ranks.masked_fill(~match, torch.iinfo(ranks.dtype).max).sort(dim=1).values, match.sum(dim=1)


def ranks_of(far: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The place that each of `items` has in the stable order of `far [G]`, without sorting what is behind the last."""
    own = far[items]
    near = far[(far <= own.max(initial=-np.inf)).nonzero()[0]]  # a mask as an index takes up to four times as long
    near.sort()
    place = near.searchsorted(own)
    for k in (near.searchsorted(own, side="right") - place > 1).nonzero()[0]:
        place[k] += np.count_nonzero(far[: items[k]] == own[k])
    return place


def _measure(ranks: Tensor, num_matches: Tensor, ap: AveragePrecision) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision, inverse negative penalty and 1-based rank of the first match, each `[rows]`; nan, nan, 0."""
    i = torch.arange(1, ranks.shape[1] + 1)
    exists = i <= num_matches[:, None]
    precision = i.double() / (ranks + 1)
    if ap == "trapezoid":
        previous = ((i - 1).double() / ranks).where(ranks > 0, 1.0)
        precision = (precision + previous) / 2
    average_precision = precision.where(exists, 0.0).sum(dim=1) / num_matches
    first, last = (((ranks + 1) * (exists & (i == nth))).sum(dim=1) for nth in (1, num_matches[:, None]))
    return average_precision, num_matches.double() / last, first


def _labels(
    name: str, query: Tensor, gallery: Tensor, query_labels: Tensor | None, gallery_labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Both sides' ids or cameras as int64 on the features' device, if there is one for each feature."""
    checked = []
    for side, features, labels in (("query", query, query_labels), ("gallery", gallery, gallery_labels)):
        num_labels = 0 if labels is None else torch.as_tensor(labels).numel()
        if num_labels != len(features):
            raise ValueError(f"{side}_{name} must hold one number for each of {len(features)} images, got {num_labels}")
        labels = torch.as_tensor(labels, device=features.device).flatten()
        checked.append(whole_numbers(labels, f"{side}_{name}"))
    return checked[0], checked[1]


def whole_numbers(labels: Tensor, name: str) -> Tensor:
    """`labels` as int64. Raises ValueError naming them for other than whole numbers, and for those beyond 63 bits."""
    if labels.dtype == torch.bool or labels.is_complex():
        raise ValueError(f"{name} must be whole numbers, got {labels.dtype}")
    whole = labels.long()
    wrong = whole.to(labels.dtype) != labels
    if labels.dtype == torch.uint64:
        wrong |= whole < 0
    if wrong.any():
        raise ValueError(f"{name} must be whole numbers, got {labels[wrong][0].item()} (the largest is 2**63 - 1)")
    return whole


def _cameras(
    query: Tensor,
    gallery: Tensor,
    query_cameras: Tensor | None,
    gallery_cameras: Tensor | None,
    same_camera: SameCamera,
) -> tuple[Tensor, Tensor] | None:
    if same_camera == "keep":
        return None
    if query_cameras is None or gallery_cameras is None:
        raise ValueError(
            'same_camera="remove" needs query_cameras and gallery_cameras; '
            'for a data set without cameras say same_camera="keep" (--keep-same-camera on the command line)'
        )
    cameras = _labels("cameras", query, gallery, query_cameras, gallery_cameras)
    if (unknown := cameras[0] < 0).any():
        raise ValueError(
            f"query_cameras must be 0 or more, as a query of an unknown camera cannot be kept from its own images; got "
            f'{int(cameras[0][unknown][0])}: leave those queries out, or say same_camera="keep" (--keep-same-camera)'
        )
    return cameras


def _check_choices(**choices: tuple[str, object]) -> None:
    for name, (value, allowed) in choices.items():
        if value not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(allowed)))}, got {value!r}")


def check_counts(**counts: int) -> None:
    """Raises ValueError naming the count that is not 1 or more."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
