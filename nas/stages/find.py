"""`nas find` and `nas verify`: who looks like the person in an image."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from nas.data.images import Files
from nas.metrics.index import Index, IndexKind, recall
from nas.models.extractor import Extractor
from nas.models.gallery import Gallery, plain
from nas.report.strips import strip, tile_size, write_picture
from nas.stages.use_network import named_thresholds
from nas.system.csv_text import csv_text
from nas.system.files import write_text

PER_ROW = 10
NO_IMAGE = "#e8eaef"
LARGEST_SHOWN = 512  # pixels of a side
DIGITS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """The images of a gallery that are nearest to one image."""

    query: Path
    gallery: Gallery
    places: list[int]
    """In the gallery, the nearest first."""
    distances: list[float]
    thresholds: dict[str, float]
    """By their names: see `named_thresholds`."""
    notes: dict[str, Any]
    """How it was searched: `index`, and of one that is not exact `recall` and the seconds of each."""

    def same(self, distance: float) -> list[str]:
        """The thresholds that a distance is within."""
        return [name for name, largest in self.thresholds.items() if distance <= largest]

    def rows(self) -> list[dict[str, Any]]:
        """For each image its `rank`, `distance`, `file`, `identity` and the thresholds at which it is the `same`."""
        return [
            {
                "rank": rank,
                "distance": round(distance, DIGITS),
                "file": plain(self.gallery.names[place]),
                "identity": self.gallery.identity(place),
                "same": self.same(distance) if self.thresholds else None,
            }
            for rank, (place, distance) in enumerate(zip(self.places, self.distances, strict=True), start=1)
        ]

    def save_table(self, path: Path) -> Path:
        """A CSV file: rank, distance, file, identity, and for each threshold whether they are the same."""
        head = ["rank", "distance", "file", "identity", *(f"same at {name}" for name in self.thresholds)]
        rows = [
            [row["rank"], row["distance"], row["file"], row["identity"]]
            + [int(name in (row["same"] or ())) for name in self.thresholds]
            for row in self.rows()
        ]
        return write_text(path, csv_text([head, *rows]))

    def save_strip(self, path: Path) -> None:
        """A picture: the query, and the images in their order. Where the threshold of equal errors is known, a green
        frame and a tick say that they are the same person, a red frame and a cross that they are not."""
        first = next(iter(self.thresholds.values()), None)
        verdicts = [None if first is None else distance <= first for distance in self.distances]
        captions = ["query"] + [f"{rank}: {distance:.3f}" for rank, distance in enumerate(self.distances, start=1)]
        images = [_image(self.gallery.path(place)) for place in self.places]
        query = Files((self.query,), upright=True).read(0)
        size = tile_size([query, *images])
        shown = [Image.new("RGB", size, NO_IMAGE) if image is None else image for image in images]
        write_picture(strip(query, shown, verdicts, captions, PER_ROW), path)


def _image(path: Path) -> Image.Image | None:
    """Small. None where it is no longer there, or cannot be read: a gallery's features may have been made elsewhere."""
    try:
        image = Files((path,), upright=True).read(0)
    except ValueError:
        return None
    image.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
    return image


def find(extractor: Extractor, query: Path, gallery: Gallery, top: int = 20, kind: IndexKind = "exact") -> Ranking:
    """The `top` images of the gallery that are nearest to the image `query`.

    Of an index that is not exact, the recall is that of the exact list. Raises ValueError for an image that cannot be
    read.
    """
    wanted, distance = extractor([query]), extractor.distance
    index, seconds = _timed(lambda: Index(gallery.features, distance, kind))
    (found, apart), searched = _timed(lambda: index.search(wanted, top))
    notes: dict[str, Any] = {"index": kind}
    if kind != "exact":
        exact, exactly = _timed(lambda: Index(gallery.features, distance).search(wanted, top)[0])
        notes |= {"recall": recall(found, exact), "build_s": seconds, "search_s": searched, "exact_s": exactly}
    places = [place for place in found[0].tolist() if place >= 0]
    return Ranking(
        query=query,
        gallery=gallery,
        places=places,
        distances=apart[0].tolist()[: len(places)],
        thresholds=named_thresholds(extractor.card),
        notes=notes,
    )


def _timed(work: Any) -> tuple[Any, float]:
    since = time.perf_counter()
    return work(), round(time.perf_counter() - since, 4)


def check_images(*paths: Path) -> None:
    """Raises ValueError for the first that is no image, before a network is loaded."""
    for path in paths:
        if not path.is_file():
            raise ValueError(f"the image {path} {'is a folder' if path.is_dir() else 'does not exist'}")
        Files((path,), upright=True).read(0)


def verify(extractor: Extractor, first: Path, second: Path) -> dict[str, Any]:
    """The `distance` of two images, and for each threshold its largest distance of one person and whether they are the
    `same`. Raises ValueError naming the image that cannot be read."""
    one, other = extractor([first, second]).split(1)
    apart = Index(other, extractor.distance).search(one, 1)[1].item()
    return {
        "distance": round(apart, DIGITS),
        "kind": extractor.distance,
        "thresholds": [
            {"name": name, "largest": round(largest, DIGITS), "same": apart <= largest}
            for name, largest in named_thresholds(extractor.card).items()
        ],
    }
