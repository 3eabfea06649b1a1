"""Which images make up the batches of an epoch."""

from collections.abc import Iterator
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
    the `shapes` [N, 2] as far as possible: only what is left of each shape is mixed, with the shapes next to it.

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


Sampling = ClassBalanced | Shuffled | Switched
