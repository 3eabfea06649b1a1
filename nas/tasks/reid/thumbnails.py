"""Small images for a page: those of some queries, of what networks found for them, and of the t-SNE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nas.data.base import ReIDData, Split
from nas.metrics.retrieval import Retrieval
from nas.report.query_data import THUMBNAILS
from nas.system.files import write_json

AREA = 72 * 144
"""Of a small image, px, whatever its shape."""
QUALITY = 75


def write_thumbnails(
    folder: Path, data: ReIDData, results: Sequence[Retrieval], further: np.ndarray, num_queries: int
) -> None:
    """Writes `thumbnails/`, unless `num_queries` is 0: of so many queries, the worst, the median and the best of the
    last result, and of all gallery images that any result found for them; and of `further` ones of the gallery."""
    if not num_queries:
        return
    last = results[-1]
    answered = np.flatnonzero(last.first_match_rank > 0)
    queries = ends_and_middle(answered[np.argsort(last.average_precision[answered], kind="stable")], num_queries)
    found = np.concatenate([further, *(result.nearest[queries].ravel() for result in results)])
    place = folder / THUMBNAILS
    index = {
        "query": _write(data.query, queries.tolist(), place, "query"),
        "gallery": _write(data.gallery, np.unique(found[found >= 0]).tolist(), place, "gallery"),
    }
    write_json(place / "index.json", index)


def ends_and_middle(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items: a third from the beginning, a third around the middle, a third from the end."""
    if len(items) <= most:
        return items
    third = most // 3
    middle = most - 2 * third
    start = (len(items) - middle) // 2
    return np.concatenate([items[:third], items[start : start + middle], items[len(items) - third :]])


def _write(split: Split, indices: Iterable[int], folder: Path, side: str) -> dict[str, tuple[str, int, int]]:
    """By the images' names the file, and the width and height of the whole image."""
    folder.mkdir(exist_ok=True)
    listed = {}
    for i in indices:
        image = split.images.read(i).convert("RGB")
        name, size = f"{side}-{i:06d}.jpg", image.size
        scale = (AREA / (size[0] * size[1])) ** 0.5
        if scale < 1:
            image = image.resize((max(1, round(scale * size[0])), max(1, round(scale * size[1]))))
        image.save(folder / name, format="JPEG", quality=QUALITY)
        listed[split.images.name(i)] = (name, *size)
    return listed
