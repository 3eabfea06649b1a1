"""What can be wrong with scenes whose frames were all looked at, in plain words and by severity."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from nas.data.check.look import Looked, Place
from nas.data.check.problems import (
    Problem,
    by_severity,
    different_counts,
    drawn,
    of_files,
    unreadable,
)
from nas.data.checks import listing
from nas.data.scene_cache import astray
from nas.data.scenes import SceneData, empty_parts, trained_queries

Scenes = Looked[SceneData]


def scene_problems(looked: Scenes, published: Mapping[str, int], strict: bool) -> tuple[Problem, ...]:
    """What is wrong, errors first. Counts that are not the published ones are an error where `strict`."""
    data = looked.data
    found = [
        nothing(data), unreadable(looked), asked_and_trained(data), different_counts(data, published, strict),
        unmatched(data), elsewhere(data), *remarks(data), *beyond(looked), *same_frames(looked), twins(looked),
        empty(looked), shared(data), *of_files(looked), drawn(looked),
    ]  # fmt: skip
    return by_severity(found)


def nothing(data: SceneData) -> Problem:
    message = "what a data set for person search needs and this one has not"
    return Problem(severity="error", kind="empty_part", message=message, items=tuple(empty_parts(data)))


def asked_and_trained(data: SceneData) -> Problem:
    items = tuple(map(str, trained_queries(data).tolist()))
    message = "identities that are trained on and that a query asks for"
    return Problem(severity="error", kind="trained_query", message=message, items=items)


def unmatched(data: SceneData) -> Problem:
    """Queries that evaluation skips: an error if it would skip all of them."""
    frames, _, ids = data.test.all_boxes
    frames_of = defaultdict(set)
    for frame, one in zip(frames.tolist(), ids.tolist(), strict=True):
        frames_of[one].add(frame)
    skipped = [
        data.query_name(i)
        for i, one in enumerate(data.queries.ids.tolist())
        if not frames_of[one].intersection(data.queries.gallery(i, len(data.test)).tolist())
    ]
    return Problem(
        severity="error" if len(skipped) == len(data.queries) else "warning", kind="unmatched_query",
        message="queries that evaluation skips, because no frame of their gallery has the same identity",
        items=tuple(skipped),
    )  # fmt: skip


def elsewhere(data: SceneData) -> Problem:
    """Queries whose box is none of their identity's in their frame."""
    items = []
    for i, (frame, box, one) in enumerate(zip(data.queries.frames, data.queries.boxes, data.queries.ids, strict=True)):
        own = data.test.boxes[frame][data.test.ids[frame] == one]
        if not len(own) or overlaps(box, own).max() < 0.5:
            items.append(data.query_name(i))
    message = "queries whose box overlaps with none of their identity in their frame by half"
    return Problem(severity="warning", kind="query_box", message=message, items=tuple(items))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` [4] with each of `boxes` [N, 4]: float64 [N]."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / (areas + (box[2:] - box[:2]).prod() - shared)


def remarks(data: SceneData) -> Iterator[Problem]:
    for sentence, cases in data.remarks.items():
        yield Problem(severity="warning", kind="remark", message=sentence, items=cases)


def beyond(looked: Scenes) -> Iterator[Problem]:
    """Boxes of which nothing is in their frame, and boxes that reach out of it."""
    outside: list[str] = []
    out: list[str] = []
    for place, seen in looked.everything():
        if seen.reason:
            continue
        boxes = looked.data.splits[place.split].boxes[place.number]
        for cases, found in zip((outside, out), astray(boxes, np.array(seen.size)), strict=True):
            cases += [f"{looked.name(place)}: {box}" for box in found]
    yield Problem(
        severity="warning", kind="box_outside", message="boxes outside their frames, which are left out",
        items=tuple(outside),
    )  # fmt: skip
    yield Problem(
        severity="note", kind="box_clipped", message="boxes that reach out of their frames, which are clipped",
        items=tuple(out),
    )  # fmt: skip


def same_frames(looked: Scenes) -> Iterator[Problem]:
    """Frames with the same bytes."""
    both: list[str] = []
    one: list[str] = []
    for group in looked.duplicates:
        cases = both if len({place.split for place in group}) > 1 else one
        cases.append(listing([looked.name(place) for place in group], " = "))
    message = "frames in training that the test has too, byte for byte"
    yield Problem(severity="warning", kind="same_image_train_test", message=message, items=tuple(both))
    message = "frames that a split has more than once, byte for byte"
    yield Problem(severity="note", kind="same_image", message=message, items=tuple(one))


def twins(looked: Scenes) -> Problem:
    """Identities that a frame has more than once."""
    items = []
    for name, split in looked.data.splits.items():
        for i, ids in enumerate(split.ids):
            found, counts = np.unique(ids[ids >= 0], return_counts=True)
            items += [f"identity {one} in {looked.name(Place(name, i))}" for one in found[counts > 1]]
    message = "identities that a frame has twice; each of the boxes counts as right"
    return Problem(severity="note", kind="twin", message=message, items=tuple(items))


def empty(looked: Scenes) -> Problem:
    items = tuple(
        looked.name(Place(name, i))
        for name, split in looked.data.splits.items()
        for i, ids in enumerate(split.ids)
        if not len(ids)
    )
    return Problem(severity="note", kind="empty_frame", message="frames without persons", items=items)


def shared(data: SceneData) -> Problem:
    both = np.intersect1d(data.identities, data.test.all_boxes.ids)
    items = tuple(map(str, np.setdiff1d(both, data.queries.ids).tolist()))
    message = "identities that training and test share, and for which no query asks"
    return Problem(severity="note", kind="shared_identity", message=message, items=items)
