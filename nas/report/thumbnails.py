"""Small images for a page, as an evaluation leaves them and a page takes them: those of some queries, of what networks
found for them, and of plots."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.data.images import ImageSource, reason_of
from nas.system.files import blamed_on, read_object, write_json

FOLDER = "thumbnails"
"""In a run's folder, with `index.json`: by `query` and `gallery` and the image's name, the file and the whole image's
width and height."""
SIDES = ("query", "gallery")
MAPS = "maps.json"
"""Beside the index, if activation maps were asked for: by the query's name the files of its own map, and of those of
what it found in their order."""
AREA = 72 * 144
"""Of a small image of a person or a vehicle, px, whatever its shape."""
QUALITY = 75


def write_thumbnails(
    folder: Path, images: Mapping[str, ImageSource], indices: Mapping[str, np.ndarray], area: float = AREA
) -> None:
    """Writes `thumbnails/` into an evaluation's folder; by side the images and which of them are wanted (-1: none)."""
    place = folder / FOLDER
    place.mkdir()
    index = {side: _write(images[side], np.unique(indices[side]).tolist(), place, side, area) for side in SIDES}
    write_json(place / "index.json", index)


def ends_and_middle(items: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items: a third with the lowest values, a third around the median, a third with the
    highest."""
    in_order = items[np.argsort(values, kind="stable")]
    if len(in_order) <= most:
        return in_order
    third = most // 3
    middle = most - 2 * third
    start = (len(in_order) - middle) // 2
    return np.concatenate([in_order[:third], in_order[start : start + middle], in_order[len(in_order) - third :]])


def _write(
    images: ImageSource, indices: Iterable[int], folder: Path, side: str, area: float
) -> dict[str, tuple[str, int, int]]:
    """By the images' names the file, and the width and height of the whole image."""
    listed = {}
    for i in indices:
        if i < 0:
            continue
        image = images.read(i).convert("RGB")
        file, (width, height) = f"{side}-{i:06d}.jpg", image.size
        scale = (area / (width * height)) ** 0.5
        if scale < 1:
            image = image.resize((max(1, round(scale * width)), max(1, round(scale * height))))
        image.save(folder / file, format="JPEG", quality=QUALITY)
        listed[images.name(i)] = (file, width, height)
    return listed


def read_thumbnails(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a run's folder by side and the image's name the source of an `<img>`, and the whole image's size; as `maps` by
    the query's name the sources of its activation maps.

    Raises ValueError naming a file that is not as the evaluation left it.
    """
    path = folder / FOLDER / "index.json"
    if not path.is_file():
        return {side: {} for side in (*SIDES, "maps")}
    listed, maps = read_object(path), path.with_name(MAPS)
    with blamed_on(maps):
        drawn = read_object(maps) if maps.is_file() else {}
        sources = {name: [_source(path.with_name(Path(file).name)) for file in files] for name, files in drawn.items()}
    with blamed_on(path):
        return {"maps": sources} | {
            side: {
                name: {"source": _source(path.with_name(Path(file).name)), "size": [int(width), int(height)]}
                for name, (file, width, height) in listed[side].items()
            }
            for side in SIDES
        }


def _source(path: Path) -> str:
    """A JPEG file as the source of an `<img>`."""
    try:
        content = path.read_bytes()
        with Image.open(path, formats=["JPEG"]) as image:
            image.verify()
    except Exception as error:  # Pillow's decoders raise nearly every type
        raise ValueError(f"{path} must be a JPEG, and cannot be read ({reason_of(error)}): remove it") from error
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
