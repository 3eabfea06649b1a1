"""`nas match`: who of a gallery the persons in a video are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nas.data.frame_boxes import FrameBox
from nas.data.frames import Frames
from nas.metrics.index import Index, IndexKind, recall
from nas.models.extractor import Extractor
from nas.models.gallery import Gallery, plain
from nas.models.person_finder import PersonFinder
from nas.system.csv_text import csv_text
from nas.system.files import write_text

DIGITS = 6
MOST_COMPARED = 1000
"""Features whose nearest image is also looked for exactly, to say what an index that is not exact misses."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """A person in a frame, and the image of the gallery that looks most like them."""

    seen: FrameBox
    score: float | None
    """How sure it is that this is a person; None where the box was given."""
    place: int
    """In the gallery; -1: none."""
    distance: float


@dataclass(kw_only=True, eq=False)
class Matcher:
    """Compares features with a gallery as they come; of a track it keeps their sum alone."""

    gallery: Gallery
    distance: Any
    kind: IndexKind = "exact"
    seen: list[tuple[FrameBox, float | None]] = field(default_factory=list)
    found: list[tuple[int, float]] = field(default_factory=list)
    """Of each one that was seen; of a track's, once all are seen."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    compared: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = Index(self.gallery.features, self.distance, self.kind)

    def add(self, boxes: Sequence[FrameBox], scores: Sequence[float | None], features: Tensor) -> None:
        """Boxes with their features `[N, D]`."""
        features = F.normalize(features) if self.distance == "cosine" else features
        alone = [i for i, box in enumerate(boxes) if not box.track]
        found = [(-1, float("inf"))] * len(boxes)
        for i, near in zip(alone, self._nearest(features[alone]) if alone else (), strict=True):
            found[i] = near
        for box, feature in zip(boxes, features, strict=True):
            if box.track:
                self.sums[box.track] = self.sums.get(box.track, torch.zeros_like(feature)) + feature
                self.numbers[box.track] = self.numbers.get(box.track, 0) + 1
        self.seen += zip(boxes, scores, strict=True)
        self.found += found

    def matches(self) -> Iterator[Match]:
        """All that were seen, in their order, each of a track with the nearest image to the track's mean feature."""
        tracks: Mapping[str, tuple[int, float]] = {}
        if self.sums:
            means = torch.stack([total / self.numbers[track] for track, total in self.sums.items()])
            tracks = dict(zip(self.sums, self._nearest(means), strict=True))
        for (box, score), alone in zip(self.seen, self.found, strict=True):
            place, distance = tracks[box.track] if box.track else alone
            yield Match(seen=box, score=score, place=place, distance=distance)

    def recall(self) -> float | None:
        """Of an index that is not exact, the share of first places that it found; None of one that is."""
        if self.kind == "exact" or not self.compared:
            return None
        features = torch.cat(self.compared)
        exact = Index(self.gallery.features, self.distance).search(features, 1)[0]
        return recall(self.index.search(features, 1)[0], exact)

    def _nearest(self, features: Tensor) -> list[tuple[int, float]]:
        if self.kind != "exact" and sum(map(len, self.compared)) < MOST_COMPARED:
            self.compared.append(features[:MOST_COMPARED])
        places, distances = self.index.search(features, 1)
        return list(zip(places[:, 0].tolist(), distances[:, 0].tolist(), strict=True))


def match_boxes(
    extractor: Extractor, frames: Frames, boxes: Sequence[FrameBox], gallery: Gallery, kind: IndexKind = "exact"
) -> Matcher:
    """Matches the boxes of a video or a folder, with one frame and one batch of crops in memory at a time.

    Raises ValueError for a frame that cannot be read.
    """
    matcher = Matcher(gallery=gallery, distance=extractor.distance, kind=kind)
    crops = _crops(frames, boxes)
    while batch := list(islice(crops, extractor.batch_size)):
        features = extractor([crop for _, crop in batch])
        matcher.add([box for box, _ in batch], [None] * len(batch), features)
    return matcher


def match_found(finder: PersonFinder, frames: Frames, gallery: Gallery, kind: IndexKind = "exact") -> Matcher:
    """The same for the persons that the network itself finds, frame by frame."""
    matcher = Matcher(gallery=gallery, distance="cosine", kind=kind)
    for name, frame in frames.read():
        if found := finder.find(frame):
            boxes = [FrameBox(frame=name, box=person.box) for person in found]
            matcher.add(boxes, [person.score for person in found], torch.stack([person.feature for person in found]))
    return matcher


def _crops(frames: Frames, boxes: Sequence[FrameBox]) -> Iterator[tuple[FrameBox, Image.Image]]:
    """The boxes frame by frame, each with what is in it."""
    of_frame: dict[str, list[FrameBox]] = {}
    for box in boxes:
        of_frame.setdefault(box.frame, []).append(box)
    for name, frame in frames.read(of_frame.keys()):
        yield from ((box, box.crop(frame)) for box in of_frame[name])


def save_matches(path: Path, matches: Sequence[Match], gallery: Gallery, threshold: float | None) -> Path:
    """A CSV file: frame, x, y, w, h, track and score where there are such, and the nearest image's file, identity and
    distance, and whether that is within the `threshold` of equal errors, where that is known."""
    tracks, scores = any(match.seen.track for match in matches), any(match.score is not None for match in matches)
    head = ["frame", "x", "y", "w", "h", *["track"] * tracks, *["score"] * scores]
    rows = []
    for match in matches:
        row: list[Any] = [plain(match.seen.frame)]
        row += [int(value) if value == int(value) else round(value, 2) for value in match.seen.box]
        row += [match.seen.track] * tracks + [round(match.score or 0.0, DIGITS)] * scores
        rows.append(row + _found(match, gallery, threshold))
    return write_text(path, csv_text([[*head, "file", "identity", "distance", "same"], *rows]))


def _found(match: Match, gallery: Gallery, threshold: float | None) -> list[Any]:
    """The cells of what was found; empty where nothing was."""
    if match.place < 0:
        return [None] * 4
    same = None if threshold is None else int(match.distance <= threshold)
    place = match.place
    return [plain(gallery.names[place]), gallery.identity(place), round(match.distance, DIGITS), same]
