"""What every data set for person search gives: frames with the boxes of the persons in them, and queries."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from nas.data.base import num_known
from nas.data.checks import check_counts, listing, warn_of
from nas.data.images import ImageSource, Taken
from nas.data.source import Source

SPLITS = ("train", "test")
NO_IDENTITY = -1
"""The identity of a person who has none; readers make it of every identity below 0."""


class Boxes(NamedTuple):
    """The boxes of all frames of a split, one after the other: the frame's index int64 [M], corners x1, y1, x2, y2 in
    pixels float64 [M, 4], and the identity int64 [M]."""

    frames: np.ndarray
    corners: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SceneSplit:
    """Frames with the boxes of the persons in them.

    boxes: of each frame float64 [N, 4], the corners x1, y1, x2, y2 in pixels of the image as it is read. They may reach
        out of it: `nas.data.scene_cache` clips them once it knows the image's size. A frame may have none.
    ids: of each frame int64 [N], 0 or more, or -1 for a person without identity. A frame may have an identity twice.
    cameras: int64 [F], -1 for an unknown one, or none at all.
    """

    images: ImageSource
    boxes: tuple[np.ndarray, ...]
    ids: tuple[np.ndarray, ...]
    cameras: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.images), len(self.boxes), len(self.ids)]
        lengths += [] if self.cameras is None else [len(self.cameras)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"a split needs boxes, identities and a camera for each frame; got {lengths[0]} frames and "
                f"{', '.join(map(str, lengths[1:]))} of these"
            )
        for frame, (boxes, ids) in enumerate(zip(self.boxes, self.ids, strict=True)):
            if problem := problem_of(boxes, ids):
                raise ValueError(f"{self.images.name(frame)}: {problem}")

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def all_boxes(self) -> Boxes:
        """The boxes of all frames in one piece."""
        frames = np.repeat(np.arange(len(self)), [len(ids) for ids in self.ids])
        corners, ids = np.concatenate([np.empty((0, 4)), *self.boxes]), np.concatenate([np.arange(0), *self.ids])
        return Boxes(frames, corners, ids)

    def num_frames_of(self) -> tuple[np.ndarray, np.ndarray]:
        """The identities, ascending, and in how many frames each is; twice in a frame counts once."""
        frames, _, ids = self.all_boxes
        seen = np.unique(np.stack([ids, frames])[:, ids >= 0], axis=1)
        return np.unique(seen[0], return_counts=True)

    def take(self, indices: np.ndarray) -> "SceneSplit":
        """The frames at `indices` (integers, or a mask [F]), in that order."""
        indices = np.arange(len(self))[indices]
        return SceneSplit(
            images=Taken.of(self.images, indices),
            boxes=tuple(self.boxes[i] for i in indices),
            ids=tuple(self.ids[i] for i in indices),
            cameras=None if self.cameras is None else self.cameras[indices],
        )


def problem_of(boxes: np.ndarray, ids: np.ndarray) -> str:
    """What is wrong with the boxes and identities of a frame; empty where nothing is."""
    if boxes.shape != (len(ids), 4):
        return f"there must be four corners and one identity for each box; got {boxes.shape} and {ids.shape}"
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
        return f"boxes must be x1, y1, x2, y2 with x1 < x2 and y1 < y2; got {boxes.tolist()}"
    if len(ids) and ids.min() < NO_IDENTITY:
        return f"identities must be 0 or more, or -1 for a person without one; got {ids.min()}"
    return ""


@dataclass(frozen=True, kw_only=True)
class SearchQueries:
    """Persons to look for: the test frame int64 [Q], the box (corners, float64 [Q, 4]) and the identity int64 [Q] of
    each. A query without a match in its gallery is skipped when it is measured.

    galleries: of each query the test frames to look in, int64, each once, in the protocol's order. None: all test
        frames but the query's own.
    """

    frames: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray
    galleries: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def gallery(self, query: int, num_frames: int) -> np.ndarray:
        """The test frames to look for query number `query` in, out of `num_frames`."""
        if self.galleries is not None:
            return self.galleries[query]
        return np.delete(np.arange(num_frames), self.frames[query])


@dataclass(frozen=True, kw_only=True)
class SceneData:
    """A data set for person search. Training and test may share an identity, as PRW's do, but no query's."""

    name: str
    train: SceneSplit
    test: SceneSplit
    queries: SearchQueries
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What may have been set right in reading: a sentence, and each case where it was."""

    def __post_init__(self) -> None:
        queries, num_frames = self.queries, len(self.test)
        galleries = queries.galleries if queries.galleries is not None else ()
        if len({len(queries.frames), len(queries.boxes), len(queries.ids), len(galleries or queries.frames)}) > 1:
            raise ValueError(f"{self.name}: each query needs a frame, a box, an identity and, where any has, a gallery")
        for frames in (queries.frames, *galleries):
            if len(frames) and not 0 <= frames.min() <= frames.max() < num_frames:
                raise ValueError(f"{self.name}: frames of queries and galleries must be in 0 .. {num_frames - 1}")
        if problem := problem_of(queries.boxes, queries.ids):
            raise ValueError(f"{self.name}, queries: {problem}")

    @property
    def splits(self) -> dict[str, SceneSplit]:
        return {name: getattr(self, name) for name in SPLITS}

    @property
    def identities(self) -> tuple[int, ...]:
        """The training identities in ascending order; the label of an identity is its position here."""
        ids = np.unique(self.train.all_boxes.ids)
        return tuple(ids[ids >= 0].tolist())

    def query_name(self, query: int) -> str:
        return f"identity {self.queries.ids[query]} in {self.test.images.name(int(self.queries.frames[query]))}"

    def counts(self) -> dict[str, int]:
        """Numbers of frames, boxes, identities, queries and cameras, to hold against published ones.

        Persons without identity (-1) are among the boxes. Cameras are those of both splits, without the unknown one.
        """
        counts: dict[str, int] = {}
        cameras = np.empty(0, dtype=np.int64)
        for name, split in self.splits.items():
            ids = split.all_boxes.ids
            counts |= {f"{name}_frames": len(split), f"{name}_boxes": len(ids), f"{name}_identities": num_known(ids)}
            cameras = np.union1d(cameras, () if split.cameras is None else split.cameras)
        shared = np.intersect1d(self.identities, self.test.all_boxes.ids)
        return counts | {
            "shared_identities": len(shared),
            "queries": len(self.queries),
            "query_identities": num_known(self.queries.ids),
            "cameras": num_known(cameras),
        }


def labels_of(ids: Sequence[np.ndarray], identities: Sequence[int]) -> tuple[np.ndarray, ...]:
    """For the identities int64 [N] of the boxes of each frame their places among `identities`, which are ascending and
    have them all; -1 stays."""
    known = np.array(identities, dtype=np.int64)
    return tuple(np.where(of_frame >= 0, np.searchsorted(known, of_frame), NO_IDENTITY) for of_frame in ids)


def trained_queries(data: SceneData) -> np.ndarray:
    """The identities that queries ask for and that are trained on, ascending."""
    return np.intersect1d(data.queries.ids, data.identities)


def empty_parts(data: SceneData) -> list[str]:
    """What a data set needs and does not have: boxes to train on, boxes to find, queries."""
    parts = {
        "a box to train on": len(data.train.all_boxes.ids),
        "a box among the test frames": len(data.test.all_boxes.ids),
        "a query": len(data.queries),
    }
    return [part for part, number in parts.items() if not number]


@dataclass(frozen=True, kw_only=True)
class SceneSource(Source):
    """Where a data set of scenes lies."""

    task: ClassVar[str] = "person_search"
    PUBLISHED: ClassVar[dict[str, int]] = {}
    """What `published` gives, for a data set without variants."""

    strict: bool = False
    """Whether counts of frames, boxes or identities that differ from the published ones are an error, not a warning."""

    @abstractmethod
    def listed(self) -> SceneData:
        """The data set as it lies on disk, no image opened yet. Raises ValueError when the layout is wrong."""

    def published(self) -> dict[str, int]:
        """The published numbers to hold against `SceneData.counts`, by the same names; empty where there are none."""
        return self.PUBLISHED

    def load(self) -> SceneData:
        """The data set, fit for training. Opens no image. Raises ValueError saying what is wrong and how to fix it."""
        data = self.listed()
        check_counts(data, self.published(), self.strict)
        warn_of(data.name, data.remarks)
        check_scenes(data)
        return data


def check_scenes(data: SceneData) -> None:
    """Raises ValueError when nothing can be trained on or measured, or a query's identity is trained on."""
    if missing := empty_parts(data):
        raise ValueError(f"{data.name} needs {listing(missing)}, and has none")
    if len(trained := trained_queries(data)):
        raise ValueError(
            f"{data.name}: no identity that a query asks for may be trained on, but {listing(trained)} are; give these "
            "persons no identity (-1) in training, or leave their queries out"
        )
