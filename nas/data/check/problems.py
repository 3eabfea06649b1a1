"""What can be wrong with a data set whose images were all looked at, in plain words and by severity."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from nas.data.base import ReIDData
from nas.data.check.look import DRAWN, Looked, Place
from nas.data.checks import (
    FIRST_FRAME,
    LEFT_OUT,
    NOT_TURNED,
    TOO_DARK,
    Counted,
    count_differences,
    listing,
    too_dark,
)

MODES = {
    "1": "black and white, read as RGB with three equal channels",
    "L": "grey, read as RGB with three equal channels",
    "LA": "grey with transparency, which is dropped",
    "P": "a palette, read as the RGB colours it stands for",
    "PA": "a palette with transparency, which is dropped",
    "RGBA": "colour with transparency, which is dropped",
    "CMYK": "printing colours, turned into RGB without a colour profile",
    "I": "grey with more than 8 bits, of which the lowest 8 are dropped",
    "I;16": "grey with 16 bits, of which the upper 8 remain",
    "I;16B": "grey with 16 bits, of which the upper 8 remain",
}
"""What `to_rgb` makes of an image that is not RGB, by Pillow's name of its mode."""


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """`kind` is for programs and stays as it is; `message` is for people; `items` name every case."""

    severity: Severity
    kind: str
    message: str
    items: tuple[str, ...]

    def __str__(self) -> str:
        shown = "; ".join(self.items[:10]) + ("; ..." if len(self.items) > 10 else "")
        return f"{self.message} ({len(self.items):,}): {shown}"


def problems(looked: Looked[ReIDData], published: Mapping[str, int], strict: bool) -> tuple[Problem, ...]:
    """What is wrong, errors first. Counts that are not the published ones are an error where `strict`."""
    data = looked.data
    found = [
        empty_splits(data), unreadable(looked), shared_identities(data), different_counts(data, published, strict),
        unmatched(looked), left_out(looked), *duplicates(looked), single_images(data), *of_files(looked),
        junk_in_training(looked), drawn(looked),
    ]  # fmt: skip
    return by_severity(found)


def of_files(looked: Looked) -> Iterator[Problem]:
    """What is to be said of the files of any data set, whatever its task."""
    yield few_bits(looked)
    yield from modes(looked)
    yield from orientations(looked)
    yield several_frames(looked)
    yield extensions(looked)


def by_severity(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that have a case, errors first."""
    order = ("error", "warning", "note")
    return tuple(sorted((one for one in found if one.items), key=lambda one: order.index(one.severity)))


def empty_splits(data: ReIDData) -> Problem:
    items = tuple(name for name, split in data.splits.items() if len(split) == 0)
    return Problem(severity="error", kind="empty_split", message="splits without any image", items=items)


def unreadable(looked: Looked) -> Problem:
    items = tuple(f"{looked.name(place)}: {seen.reason}" for place, seen in looked.everything() if seen.reason)
    return Problem(severity="error", kind="unreadable", message="images that cannot be read", items=items)


def shared_identities(data: ReIDData) -> Problem:
    shared = np.intersect1d(data.train.ids, np.union1d(data.query.ids, data.gallery.ids))
    return Problem(
        severity="error", kind="shared_identity", message="identities in training that queries or gallery have too",
        items=tuple(str(one) for one in shared if one >= 0),
    )  # fmt: skip


def different_counts(data: Counted, published: Mapping[str, int], strict: bool) -> Problem:
    different = count_differences(data, published)
    return Problem(
        severity="error" if strict else "warning", kind="count", message="counts that are not the published ones",
        items=tuple(f"{name} is {found:,}, published {number:,}" for name, number, found in different),
    )  # fmt: skip


def unmatched(looked: Looked[ReIDData]) -> Problem:
    """Queries that evaluation skips: an error if it would skip all of them."""
    query, gallery = looked.data.query, looked.data.gallery
    own, others = query.cameras, gallery.cameras
    if without_cameras := own is None or others is None:
        own, others = np.full(len(query), -1), np.zeros(len(gallery))
    cameras = defaultdict(set)
    for one, camera in zip(gallery.ids, others, strict=True):
        if one >= 0:
            cameras[one].add(camera)
    skipped = [i for i, (one, camera) in enumerate(zip(query.ids, own, strict=True)) if not cameras[one] - {camera}]
    return Problem(
        severity="error" if len(skipped) == len(query) else "warning", kind="unmatched_query",
        message="queries that evaluation skips, because the gallery has no image of the same identity"
        + ("" if without_cameras else " from another camera"),
        items=tuple(looked.name(Place("query", i)) for i in skipped),
    )  # fmt: skip


def duplicates(looked: Looked[ReIDData]) -> Iterator[Problem]:
    """Images with the same bytes; each group is reported once, by the worst that it means."""
    kinds: dict[str, tuple[Severity, str]] = {
        "same_image_train_test": ("error", "images in training that queries or gallery have too, byte for byte"),
        "same_image_identities": ("warning", "images with the same bytes but different identities"),
        "same_image_query_gallery": ("warning", "queries that the gallery has too, byte for byte"),
        "same_image": ("note", "images that a split has more than once, byte for byte"),
    }
    groups = defaultdict(list)
    for group in looked.duplicates:
        groups[kind_of(looked, group)].append(listing([looked.name(place) for place in group], " = "))
    for kind, (severity, message) in kinds.items():
        yield Problem(severity=severity, kind=kind, message=message, items=tuple(groups[kind]))


def kind_of(looked: Looked[ReIDData], group: list[Place]) -> str:
    splits = {place.split for place in group}
    if "train" in splits and len(splits) > 1:
        return "same_image_train_test"
    if len({looked.data.splits[place.split].ids[place.number] for place in group}) > 1:
        return "same_image_identities"
    return "same_image_query_gallery" if len(splits) > 1 else "same_image"


def single_images(data: ReIDData) -> Problem:
    identities, counts = np.unique(data.train.ids, return_counts=True)
    return Problem(
        severity="warning", kind="single_image",
        message='training identities with one image only; to train, set single_images to "drop" or "keep"',
        items=tuple(str(one) for one in identities[(counts == 1) & (identities >= 0)]),
    )  # fmt: skip


def modes(looked: Looked) -> Iterator[Problem]:
    places = defaultdict(list)
    for place, seen in looked.everything():
        if not seen.reason and seen.mode != "RGB":
            places[seen.mode].append(place)
    for mode in sorted(places):
        yield Problem(
            severity="note", kind="mode", message=f"images in {MODES.get(mode, f'mode {mode}, turned into RGB')}",
            items=tuple(map(looked.name, places[mode])),
        )  # fmt: skip


def left_out(looked: Looked[ReIDData]) -> Problem:
    items = tuple(os.path.relpath(path, looked.folder) for path in looked.data.left_out)
    return Problem(severity="warning", kind="left_out", message=LEFT_OUT, items=items)


def few_bits(looked: Looked) -> Problem:
    bits = {looked.name(place): seen.bits for place, seen in looked.everything() if seen.bits}
    return Problem(severity="warning", kind="few_bits", message=TOO_DARK, items=tuple(too_dark(bits)))


def orientations(looked: Looked) -> Iterator[Problem]:
    """Images whose orientation tag says that they do not lie upright in the file."""
    kinds = {True: "images with an orientation tag (EXIF) are turned as that says", False: NOT_TURNED}
    for is_turned, message in kinds.items():
        items = (
            f"{looked.name(place)} ({seen.orientation})"
            for place, seen in looked.everything()
            if seen.orientation != 1 and seen.is_turned is is_turned
        )
        yield Problem(severity="note", kind="orientation", message=message, items=tuple(items))


def several_frames(looked: Looked) -> Problem:
    items = tuple(looked.name(place) for place, seen in looked.everything() if seen.has_frames)
    return Problem(severity="note", kind="several_frames", message=FIRST_FRAME, items=items)


def extensions(looked: Looked) -> Problem:
    """A file name's ending that belongs to another format. MPO is what some cameras write as .jpg; it begins as one."""
    format_of, items = Image.registered_extensions(), []
    for place, seen in looked.everything():
        if not seen.reason and seen.format not in (DRAWN, "MPO"):
            name = looked.data.splits[place.split].images.name(place.number)
            if format_of.get(Path(name).suffix.lower(), seen.format) != seen.format:
                items.append(f"{looked.name(place)} is {seen.format}")
    message = "file names that end as another format than the file has, which does no harm"
    return Problem(severity="note", kind="extension", message=message, items=tuple(items))


def junk_in_training(looked: Looked[ReIDData]) -> Problem:
    items = tuple(looked.name(Place("train", int(i))) for i in np.flatnonzero(looked.data.train.ids < 0))
    message = "images of identity -1 in training, which leaves them out"
    return Problem(severity="note", kind="junk_in_training", message=message, items=items)


def drawn(looked: Looked) -> Problem:
    items = tuple(name for name, seen in looked.seen.items() if any(one.format == DRAWN for one in seen))
    message = "splits whose images are not files: their pixels were compared, not the bytes of files"
    return Problem(severity="note", kind="drawn", message=message, items=items)
