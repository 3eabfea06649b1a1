"""What every data set gives: three splits of named images with identities and cameras, checked before training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.images import ImageSource, Joined, Taken

SPLITS = ("train", "query", "gallery")
JUNK = -1
"""The identity of junk; readers make it of every identity below 0."""
UNKNOWN = -1
"""The camera that is unknown; readers make it of every camera below 0."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their identities [N] and cameras [N] (int64), or no cameras at all.

    Identity -1 is junk: it is in no training set, and evaluation removes it from every ranking. Camera -1 is unknown:
    no query has it, so that no image is taken out of a ranking for it.
    """

    images: ImageSource
    ids: np.ndarray
    cameras: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.images), len(self.ids)] + ([] if self.cameras is None else [len(self.cameras)])
        if len(set(lengths)) > 1:
            raise ValueError(f"a split needs one identity and one camera for each image; got {lengths} of them")
        for numbers in (self.ids,) if self.cameras is None else (self.ids, self.cameras):
            if len(numbers) and numbers.min() < JUNK:
                raise ValueError(
                    "identities and cameras must be 0 or more, or -1 for junk and for an unknown camera; "
                    f"got {numbers.min()}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices` (integers, or a mask [N]), in that order."""
        indices = np.arange(len(self))[indices]
        cameras = None if self.cameras is None else self.cameras[indices]
        return Split(images=Taken.of(self.images, indices), ids=self.ids[indices], cameras=cameras)

    def joined(self, other: "Split") -> "Split":
        """These images, then those of `other`; both have cameras or neither has."""
        cameras = None if self.cameras is None else np.concatenate([self.cameras, other.cameras])
        return Split(
            images=Joined((self.images, other.images)), ids=np.concatenate([self.ids, other.ids]), cameras=cameras
        )


@dataclass(frozen=True, kw_only=True)
class ReIDData:
    """A data set for re-identification: identities to train on, and queries to find in a gallery."""

    name: str
    train: Split
    query: Split
    gallery: Split
    partitions: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """Where a protocol repeats: for each repeat the indices of its queries and of its gallery among all test images,
    which are `query` followed by `gallery`. The first repeat is those two themselves. Empty: one evaluation."""
    left_out: tuple[Path, ...] = ()
    """What lies among the images in their folders and is none by its ending."""
    label_noise: float = 0.0
    """Share of the training labels that are redrawn in each epoch."""

    @property
    def identities(self) -> tuple[int, ...]:
        """The training identities in ascending order; the label of an identity is its position here."""
        return tuple(np.unique(self.train.ids).tolist())

    @property
    def train_labels(self) -> np.ndarray:
        """The labels of the training images, int64 [N], in 0 .. number of identities - 1."""
        return np.unique(self.train.ids, return_inverse=True)[1].astype(np.int64)

    @property
    def splits(self) -> dict[str, Split]:
        return {name: getattr(self, name) for name in SPLITS}

    def counts(self) -> dict[str, int]:
        """Numbers of images, identities and cameras, to hold against published ones.

        Junk (-1) is among the images, not among the identities. Distractors are the gallery images of an identity that
        no query has; Market-1501 gives all of its own the identity 0, which counts as one. Cameras are those of all
        splits, without the unknown one (-1).
        """
        counts: dict[str, int] = {}
        cameras = np.empty(0, dtype=np.int64)
        for name, split in self.splits.items():
            counts |= {f"{name}_images": len(split), f"{name}_identities": num_known(split.ids)}
            cameras = np.union1d(cameras, () if split.cameras is None else split.cameras)
        distractors = (self.gallery.ids >= 0) & ~np.isin(self.gallery.ids, self.query.ids)
        return counts | {
            "gallery_junk": int((self.gallery.ids < 0).sum()),
            "gallery_distractors": int(distractors.sum()),
            "cameras": num_known(cameras),
        }


def num_known(numbers: np.ndarray) -> int:
    """How many different identities or cameras there are, without those that stand for none (-1)."""
    return len(np.unique(numbers[numbers >= 0]))
