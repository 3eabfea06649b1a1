"""Person search: the boxes that a query's person has in whole frames, found and ranked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nas.metrics.detection import by_frame, check_boxes, pair_iou
from nas.metrics.distance import check_features, distances
from nas.metrics.retrieval import check_counts, cmc_of, rank_of, ranks_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of many frames: `frames [N]` (int64, from 0 on), corners `boxes [N, 4]`, and what stands for who is in
    them: `ids [N]` of true boxes (int64; below 0: nobody known), or `features [N, D]` of queries and of what was
    detected."""

    frames: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonSearch:
    """What queries found. Means are over the queries whose person is in their gallery; all values are in [0, 1].

    `cmc [max_rank]`: share of queries with their person among the first k + 1 boxes (top-k). `average_precision [Q]`
    is nan, `first_match_rank [Q]` (1-based) is 0 for skipped queries; the latter also where nothing right was found.
    `best [Q, K]`: the nearest box of each of the K nearest frames, as a place among the detections, or -1; `right`:
    which of them count as found.
    """

    mAP: float
    cmc: np.ndarray
    average_precision: np.ndarray
    first_match_rank: np.ndarray
    best: np.ndarray
    right: np.ndarray
    num_skipped: int

    def rank(self, k: int) -> float:
        """Top-k: share of queries with their person among the k nearest boxes."""
        return rank_of(self.cmc, k)


def evaluate_person_search(
    queries: Boxes,
    detected: Boxes,
    true: Boxes,
    galleries: Sequence[np.ndarray] | None = None,
    cameras: np.ndarray | None = None,
    *,
    max_rank: int = 50,
    num_best: int = 10,
    block: int = 256,
) -> PersonSearch:
    """Ranks `detected` boxes by their cosine similarity to each query, ties in the order of the detections.

    queries: with ids and features. detected: with features; those that do not score enough are left out before.
    true: with ids. galleries: each query's frames; a frame twice counts once, and the query's own counts where it is
    listed. None: every frame but its own. cameras `[F]` of the frames: where they are given, the frames of the query's
    own camera are in no gallery (the cross-camera protocol).

    In each gallery frame with the person, the nearest box that overlaps one of the person's true boxes, of width w and
    height h, by `min(0.5, w h / ((w + 10) (h + 10)))` is right; all else is wrong. With n such frames, and right boxes
    at ranks r_1 < r_2 ..., the average precision is `1/n sum_k k / r_k`: the public code's average precision times the
    share of frames in which the person was found. Deviations from it: a frame that is listed twice is counted and
    ranked once; of a person who is twice in a frame any box will do; boxes are not cut to whole pixels.

    num_best: of how many frames the nearest box is named; 0: of none.

    Raises ValueError for what does not fit together, for NaN, infinite or zero features, and when no query has a match.
    """
    check_counts(max_rank=max_rank, block=block)
    assert queries.features is not None and detected.features is not None
    check_boxes("queries", queries.frames, queries.boxes, queries.features)
    check_boxes("detections", detected.frames, detected.boxes, detected.features)
    if len(detected):
        check_features(queries.features, detected.features, "cosine")
    shown = by_frame(detected.frames)
    ranked = ((detected, shown, far) for far in _distances(queries.features, detected.features, block))
    num_frames = _num_frames(queries, [detected], true, galleries)
    return _evaluate(queries, ranked, true, galleries, cameras, num_frames, max_rank, num_best)


def evaluate_each_query(
    queries: Boxes,
    detected: Sequence[Boxes],
    similarities: Sequence[np.ndarray],
    true: Boxes,
    galleries: Sequence[np.ndarray] | None = None,
    cameras: np.ndarray | None = None,
    *,
    max_rank: int = 50,
    num_best: int = 10,
) -> PersonSearch:
    """`evaluate_person_search` where each query has detections of its own, as those of a query-guided network, and a
    number `[N]` for each of them that is the larger the likelier it is the query's person.

    `best` are places among the query's own detections. Raises ValueError as `evaluate_person_search` does.
    """
    check_counts(max_rank=max_rank)
    if not len(queries) == len(detected) == len(similarities):
        raise ValueError(
            f"each of {len(queries)} queries needs detections and similarities of its own, got {len(detected)} and "
            f"{len(similarities)}"
        )
    for query, (boxes, similar) in enumerate(zip(detected, similarities, strict=True)):
        check_boxes(f"detections of query {query}", boxes.frames, boxes.boxes, similar)
        if not np.isfinite(similar).all():
            raise ValueError(f"similarities must be finite numbers, and those of query {query} are not")
    ranked = ((boxes, by_frame(boxes.frames), -similar) for boxes, similar in zip(detected, similarities, strict=True))
    num_frames = _num_frames(queries, detected, true, galleries)
    return _evaluate(queries, ranked, true, galleries, cameras, num_frames, max_rank, num_best)


def _num_frames(queries: Boxes, detected: Sequence[Boxes], true: Boxes, galleries: Sequence[np.ndarray] | None) -> int:
    named = [
        queries.frames,
        true.frames,
        *(each.frames for each in detected),
        *(galleries if galleries is not None else ()),
    ]
    return 1 + max(int(np.max(frames, initial=-1)) for frames in named)


def _evaluate(
    queries: Boxes,
    ranked: Iterable[tuple[Boxes, Mapping[int, np.ndarray], np.ndarray]],
    true: Boxes,
    galleries: Sequence[np.ndarray] | None,
    cameras: np.ndarray | None,
    num_frames: int,
    max_rank: int,
    num_best: int,
) -> PersonSearch:
    """`ranked`: for each query what is detected, the places of that by frame, and how far each is from the query."""
    if num_best < 0:
        raise ValueError(f"num_best must be 0 or more, got {num_best}")
    assert queries.ids is not None and true.ids is not None
    _check(queries, true, galleries, cameras, num_frames)
    average_precision, first = np.full(len(queries), np.nan), np.zeros(len(queries), dtype=np.int64)
    best = np.full((len(queries), num_best), -1)
    found = np.zeros((len(queries), num_best), dtype=bool)
    for query, (detected, shown, far) in enumerate(ranked):
        searched = _gallery(query, queries, num_frames, galleries, cameras)
        person = np.flatnonzero((true.ids == queries.ids[query]) & searched[true.frames])
        far = np.where(searched[detected.frames], far, np.inf)
        right = _right(far, detected, shown, true.frames[person], true.boxes[person])
        if num_best:
            best[query], found[query] = _best_frames(far, detected.frames, right, num_best)
        if num_matches := len(np.unique(true.frames[person])):
            ranks = 1 + np.sort(ranks_of(far, right))
            average_precision[query] = (np.arange(1, len(ranks) + 1) / ranks).sum() / num_matches
            first[query] = ranks[0] if len(ranks) else 0
    has_match = ~np.isnan(average_precision)
    if not has_match.any():
        raise ValueError(
            f"no query has a match: none of {len(queries)} queries has its person in another frame of its gallery; "
            "check that queries and frames are of one data set"
        )
    return PersonSearch(
        mAP=float(average_precision[has_match].mean()),
        cmc=cmc_of(first, int(has_match.sum()), max_rank),
        average_precision=average_precision,
        first_match_rank=first,
        best=best,
        right=found,
        num_skipped=int((~has_match).sum()),
    )


def _check(
    queries: Boxes,
    true: Boxes,
    galleries: Sequence[np.ndarray] | None,
    cameras: np.ndarray | None,
    num_frames: int,
) -> None:
    """Raises ValueError for what does not fit together."""
    assert queries.ids is not None and true.ids is not None
    check_boxes("queries", queries.frames, queries.boxes, queries.ids)
    check_boxes("true boxes", true.frames, true.boxes, true.ids)
    if not (true.boxes[:, 2:] > true.boxes[:, :2]).all():
        raise ValueError("true boxes must have a width and a height above 0: leave those without out")
    if galleries is not None and len(galleries) != len(queries):
        raise ValueError(f"each of {len(queries)} queries needs a gallery, got {len(galleries)}")
    if cameras is not None and len(cameras) < num_frames:
        raise ValueError(f"each of {num_frames} frames needs a camera, got {len(cameras)}")


def _distances(queries: Tensor, detected: Tensor, block: int) -> Iterator[np.ndarray]:
    """For each query minus its cosine similarity to each detection, `[N]`."""
    if not len(detected):
        yield from (np.empty(0, dtype=np.float32) for _ in range(len(queries)))
        return
    for _, far in distances(queries, detected, "cosine", block):
        yield from far.cpu().numpy()


def _gallery(
    query: int,
    queries: Boxes,
    num_frames: int,
    galleries: Sequence[np.ndarray] | None,
    cameras: np.ndarray | None,
) -> np.ndarray:
    """Which frames are searched for a query, bool `[F]`."""
    own = queries.frames[query]
    searched = np.full(num_frames, galleries is None)
    if galleries is None:
        searched[own] = False
    else:
        searched[galleries[query]] = True
    if cameras is not None:
        searched &= cameras[:num_frames] != cameras[own]
    return searched


def _right(
    far: np.ndarray, detected: Boxes, shown: Mapping[int, np.ndarray], frames: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """Of each of the `frames [M]` with the person's true `boxes [M, 4]`, the nearest detection that is one of them."""
    none = np.array([], dtype=np.int64)
    there = [shown.get(frame, none) for frame in frames.tolist()]
    place, person = np.concatenate([none, *there]), np.repeat(np.arange(len(frames)), [len(each) for each in there])
    width, height = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).T
    needed = np.minimum(0.5, width * height / ((width + 10) * (height + 10)))
    fits = place[pair_iou(detected.boxes[place], boxes[person]) >= needed[person]]
    fits = fits[np.lexsort((fits, far[fits], detected.frames[fits]))]
    return fits[np.unique(detected.frames[fits], return_index=True)[1]]


def _best_frames(
    far: np.ndarray, frames: np.ndarray, right: np.ndarray, num_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest detection of each of the nearest frames, padded with -1 to `[num_best]`, and which are `right`."""
    nearest = np.full(frames.max(initial=-1) + 1, np.inf, dtype=far.dtype)
    np.minimum.at(nearest, frames, far)
    last = np.partition(nearest, num_best - 1)[num_best - 1] if len(nearest) > num_best else np.inf
    near = np.flatnonzero((far <= last) & np.isfinite(far))
    order = near[np.argsort(far[near], kind="stable")]
    places = order[np.sort(np.unique(frames[order], return_index=True)[1])[:num_best]]
    best = np.concatenate([places, np.full(num_best - len(places), -1)]).astype(np.int64)
    return best, np.isin(best, right)
