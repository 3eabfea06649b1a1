"""Which images make up the batches of an epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from search_spaces.ranges import Count, CountOrZero, Ranged


def class_balanced(
    labels: np.ndarray, num_ids: int, images_per_id: int, rng: np.random.Generator, num_batches: int | None = None
) -> np.ndarray:
    """Indices into `labels` [N] for batches of `num_ids` identities with `images_per_id` images of each, one after the
    other: int64 [num_batches, num_ids * images_per_id]; by default about as many batches as N fills.

    All identities come by before one comes again, and none twice in a batch. The images of an identity are drawn
    without replacement; one with fewer repeats them as evenly as it can. Raises ValueError for too few identities.
    """
    identities, positions = np.unique(labels, return_inverse=True)
    if len(identities) < num_ids:
        raise ValueError(
            f"a batch of num_ids={num_ids} identities needs at least as many in the data, which has {len(identities)}; "
            f"set num_ids to at most {len(identities)}"
        )
    images_of = np.split(np.argsort(positions, kind="stable"), np.cumsum(np.bincount(positions))[:-1])
    num_batches = num_batches or max(1, len(labels) // (num_ids * images_per_id))
    batches = identity_batches(len(identities), num_ids, num_batches, rng)
    return np.array(
        [[i for one in batch for i in np.resize(rng.permutation(images_of[one]), images_per_id)] for batch in batches]
    )


def identity_batches(
    num_identities: int, num_ids: int, num_batches: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """For each batch `num_ids` of the identities 0 .. num_identities - 1, nobody twice; all come by before one comes
    again."""
    waiting = np.empty(0, dtype=np.int64)
    for _ in range(num_batches):
        if len(waiting) < num_ids:
            fresh = rng.permutation(num_identities)
            again = np.isin(fresh, waiting)  # already in this batch: last in the new round
            waiting = np.concatenate([waiting, fresh[~again], fresh[again]])
        yield waiting[:num_ids]
        waiting = waiting[num_ids:]


def shuffled(labels: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices into `labels` [N] in random order, int64 [N // batch_size, batch_size]; the rest of N is left out.

    Raises ValueError when there are fewer images than `batch_size`.
    """
    num_batches = len(labels) // batch_size
    if num_batches == 0:
        raise ValueError(
            f"a batch of batch_size={batch_size} images needs at least as many in the data, which has {len(labels)}; "
            f"set batch_size to at most {len(labels)}"
        )
    return rng.permutation(len(labels))[: num_batches * batch_size].reshape(num_batches, batch_size)


def bucketed(shapes: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of images in random order, int64 [N // batch_size, batch_size], so that those of a batch have the same of
    the `shapes` [N, ...] as far as possible: only what is left of each shape is mixed, with the shapes next to it.

    Raises ValueError when there are fewer images than `batch_size`.
    """
    order = shuffled(np.arange(len(shapes)), batch_size, rng).ravel()
    bucket = np.unique(shapes[order], axis=0, return_inverse=True)[1].ravel()
    batches, left = [], []
    for one in range(bucket.max() + 1):
        members = order[bucket == one]
        full = len(members) // batch_size * batch_size
        batches.append(members[:full].reshape(-1, batch_size))
        left.append(members[full:])
    batches.append(np.concatenate(left).reshape(-1, batch_size))
    return rng.permutation(np.concatenate(batches))


def query_pairs(labels: Sequence[np.ndarray], pairs_per_id: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of two different frames with the same identity, from the `labels` [N] of each frame's boxes: int64 [M, 3],
    the query's frame, the place of its box there, and the frame to look for it in.

    Of an identity in n frames there are n (n - 1) ordered pairs, of which `pairs_per_id` are drawn, or all where there
    are fewer. Of an identity that is twice in the query's frame one box is drawn.
    """
    pairs = []
    for identity, frames in frames_of(labels).items():
        others = len(frames) - 1
        numbers = rng.choice(len(frames) * others, min(pairs_per_id, len(frames) * others), replace=False)
        for query, place in zip(*np.divmod(numbers, others), strict=True):
            boxes = np.flatnonzero(labels[frames[query]] == identity)
            pairs.append((frames[query], rng.choice(boxes), frames[place + (place >= query)]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 3)


def num_query_pairs(labels: Sequence[np.ndarray], pairs_per_id: int) -> int:
    """How many pairs `query_pairs` gives."""
    return sum(min(pairs_per_id, len(frames) * (len(frames) - 1)) for frames in frames_of(labels).values())


def frames_of(labels: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """The frames int64 [n] of each identity, 0 or more, that is in two frames or more; both ascending."""
    pairs = [(label, frame) for frame, of_frame in enumerate(labels) for label in np.unique(of_frame) if label >= 0]
    found, frames = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    identities, starts = np.unique(found, return_index=True)
    split = np.split(frames, starts[1:])
    return {int(one): each for one, each in zip(identities, split, strict=False) if len(each) > 1}


@dataclass(frozen=True, kw_only=True)
class ClassBalanced(Ranged):
    """Batches of `num_ids` identities with `images_per_id` images of each: see `class_balanced`."""

    num_ids: Count = 8
    """Identities in a batch."""
    images_per_id: Count = 2
    """Images of each identity in a batch."""
    num_batches: Count | None = None
    """Batches in an epoch; None: as many as there are images for."""

    @property
    def batch_size(self) -> int:
        return self.num_ids * self.images_per_id

    def small(self) -> "ClassBalanced":
        return ClassBalanced(num_ids=4, images_per_id=2, num_batches=2)

    def plan(self, labels: np.ndarray, rng: np.random.Generator, epoch: int) -> np.ndarray:
        return class_balanced(labels, self.num_ids, self.images_per_id, rng, self.num_batches)


@dataclass(frozen=True, kw_only=True)
class Shuffled(Ranged):
    """Batches of `batch_size` images in random order: see `shuffled`."""

    batch_size: Count = 64
    """Images in a batch."""
    num_ids: ClassVar[int] = 0
    """A batch needs no number of identities."""

    def small(self) -> "Shuffled":
        return Shuffled(batch_size=8)

    def plan(self, labels: np.ndarray, rng: np.random.Generator, epoch: int) -> np.ndarray:
        return shuffled(labels, self.batch_size, rng)


@dataclass(frozen=True, kw_only=True)
class Switched(Ranged):
    """Shuffled batches at first, class-balanced ones from epoch `at` on (KSL, section 4.2).

    All epochs have equally many: `then.num_batches`, as far as there are images for.
    """

    first: Shuffled = field(default_factory=Shuffled)
    then: ClassBalanced = field(default_factory=lambda: ClassBalanced(num_ids=16, images_per_id=4))
    at: CountOrZero = 150
    """Epoch from which batches are class-balanced; before it they are shuffled (the paper: 150)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.batch_size != self.then.batch_size:
            raise ValueError(
                f"both kinds of batches must have equally many images, not {self.first.batch_size} and "
                f"{self.then.num_ids} x {self.then.images_per_id} = {self.then.batch_size}"
            )

    @property
    def num_ids(self) -> int:
        return self.then.num_ids

    @property
    def batch_size(self) -> int:
        return self.then.batch_size

    def small(self) -> "Switched":
        return Switched(first=self.first.small(), then=self.then.small(), at=min(self.at, 1))

    def plan(self, labels: np.ndarray, rng: np.random.Generator, epoch: int) -> np.ndarray:
        filled = len(labels) // self.first.batch_size
        kind = self.first if epoch < self.at else self.then
        return kind.plan(labels, rng, epoch)[: min(filled, self.then.num_batches or filled)]


@dataclass(frozen=True, kw_only=True)
class QueryPairs(Ranged):
    """Batches of pairs of frames with the same person, for networks that a query guides (QEEPS): see `query_pairs`.

    PRW has 1,075,514 such pairs, so that each epoch draws others.
    """

    batch_size: Count = 4
    """Pairs in a batch."""
    pairs_per_id: Count = 2
    """Pairs of each identity in an epoch; an identity with fewer has all of them."""
    num_ids: ClassVar[int] = 0
    """A batch needs no number of identities."""

    def small(self) -> "QueryPairs":
        return QueryPairs(batch_size=4, pairs_per_id=self.pairs_per_id)


Sampling = ClassBalanced | Shuffled | Switched
"""Of batches of single images."""
