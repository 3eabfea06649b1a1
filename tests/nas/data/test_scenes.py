"""Splits, queries and data sets of scenes say what is wrong with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.data.images import Files
from nas.data.scenes import SceneData, SceneSplit, SearchQueries, labels_of


def split(*ids: list[int], cameras: list[int] | None = None) -> SceneSplit:
    """A frame for each list of identities, each with a box of its own."""
    return SceneSplit(
        images=Files(tuple(Path(f"{i}.jpg") for i in range(len(ids)))),
        boxes=tuple(np.array([[k, 0, k + 5, 9] for k in range(len(some))], dtype=float).reshape(-1, 4) for some in ids),
        ids=tuple(np.array(some, dtype=np.int64) for some in ids),
        cameras=None if cameras is None else np.array(cameras),
    )


def queries(frames: list[int], ids: list[int], galleries: list[list[int]] | None = None) -> SearchQueries:
    return SearchQueries(
        frames=np.array(frames),
        boxes=np.array([[0.0, 0, 5, 9]] * len(frames)),
        ids=np.array(ids),
        galleries=None if galleries is None else tuple(map(np.array, galleries)),
    )


DATA = SceneData(name="toy", train=split([7, -1], [3, 7, 7], []), test=split([4], [7, 4]), queries=queries([0], [4]))


def test_counts_and_labels():
    assert DATA.identities == (3, 7)
    assert [labels.tolist() for labels in labels_of(DATA.train.ids, DATA.identities)] == [[1, -1], [0, 1, 1], []]
    assert DATA.counts() == {
        "train_frames": 3, "train_boxes": 5, "train_identities": 2, "test_frames": 2, "test_boxes": 3,
        "test_identities": 2, "shared_identities": 1, "queries": 1, "query_identities": 1, "cameras": 0,
    }  # fmt: skip


def test_labels_of_nobody():
    ids = [np.array([-1, -1]), np.array([], dtype=int)]
    assert [labels.tolist() for labels in labels_of(ids, ())] == [[-1, -1], []]


def test_all_boxes_are_those_of_the_frames_in_turn():
    frames, corners, ids = DATA.train.all_boxes
    assert frames.tolist() == [0, 0, 1, 1, 1] and ids.tolist() == [7, -1, 3, 7, 7]
    assert corners[:, 0].tolist() == [0, 1, 0, 1, 2]
    assert split([], []).all_boxes.corners.shape == (0, 4)


def test_taken_frames_keep_their_boxes():
    taken = split([1], [2, 3], [4], cameras=[5, 6, 7]).take(np.array([2, 1])).take(np.array([False, True]))
    assert taken.ids[0].tolist() == [2, 3] and taken.cameras.tolist() == [6] and taken.images.name(0) == "1.jpg"


def test_a_gallery_is_what_the_protocol_says_or_all_frames_but_the_own():
    assert queries([1], [4]).gallery(0, 3).tolist() == [0, 2]
    assert queries([1], [4], [[2, 1]]).gallery(0, 3).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("boxes", "ids", "problem"),
    [
        ([[0, 0, 5, 0]], [1], r"0.jpg: boxes must be x1, y1, x2, y2 with x1 < x2"),
        ([[0, 0, np.nan, 5]], [1], "0.jpg: boxes must be"),
        ([[0, 0, 5, 5]], [-2], "identities must be 0 or more, or -1 .* got -2"),
        ([[0, 0, 5, 5]], [1, 2], "one identity for each box"),
    ],
)
def test_boxes_that_are_none_are_named(boxes: list, ids: list, problem: str):
    with pytest.raises(ValueError, match=problem):
        SceneSplit(images=Files((Path("0.jpg"),)), boxes=(np.array(boxes),), ids=(np.array(ids),))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (queries([2], [4]), r"toy: frames of queries and galleries must be in 0 .. 1"),
        (queries([0], [4], [[0, 5]]), r"must be in 0 .. 1"),
        (queries([0, 1], [4, 4], [[0]]), "each query needs a frame, a box, an identity"),
        (queries([0], [-5]), "toy, queries: identities must be"),
    ],
)
def test_queries_that_cannot_be_are_named(asked: SearchQueries, problem: str):
    with pytest.raises(ValueError, match=problem):
        replace(DATA, queries=asked)
