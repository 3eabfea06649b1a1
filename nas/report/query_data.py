"""What a page's browser of queries shows, as plain data: every query of every network, and some of the images."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.data.images import reason_of
from nas.metrics.bootstrap import percentile_interval, resampled_means
from nas.report.query_results import FoundBox, Queries
from nas.report.scripts import shortened
from nas.system.files import blamed_on, read_object

THUMBNAILS = "thumbnails"
"""The folder of small images that an evaluation leaves, with `index.json`: by `query` and `gallery`, the file in the
folder and the whole image's width and height, by the image's name."""
SIDES = ("query", "gallery")
RESAMPLES = 2000


def read_queries(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Queries]:
    """What each query found, by the network's name, as far as there are files. Raises ValueError as `Queries.load`."""
    rows = [
        (str(row.get("name")), Path(str(row["queries"])).name) for row in metrics.get("rows") or [] if "queries" in row
    ]
    paths = {name: folder / "queries" / file for name, file in rows}
    return {name: Queries.load(path) for name, path in paths.items() if path.is_file()}


def interval(queries: Queries) -> tuple[float, float] | None:
    """The 95 % interval of the mAP, by the bootstrap over identities (seed 0); None for fewer than two of them."""
    answered = ~np.isnan(queries.average_precision)
    values, ids = queries.average_precision[answered], queries.ids[answered]
    if len(np.unique(ids)) < 2:
        return None
    means = resampled_means(values[:, None], np.random.default_rng(0), RESAMPLES, ids)
    low, high = percentile_interval(means)[:, 0].tolist()
    return low, high


def browsed(folder: Path, networks: Mapping[str, Queries]) -> dict[str, Any] | None:
    """All queries with what each network found; None without any. Networks that were asked other queries are left out.

    Images that are not among the `thumbnails` are shown from where they lay at the evaluation, as far as they still do.
    """
    if not networks:
        return None
    first = next(iter(networks.values()))
    alike = {name: each for name, each in networks.items() if each.labels == first.labels}
    gallery: dict[tuple[str, int | None, int | None], int] = {}
    shown = [
        {
            "name": name,
            "ap": [shortened(value) for value in each.average_precision.tolist()],
            "first": each.first_match_rank.tolist(),
            "found": [[number for one in some for number in _found(one, gallery)] for some in each.found],
        }
        for name, each in alike.items()
    ]
    found_names, found_ids, found_cameras = zip(*gallery, strict=True) if gallery else ((), (), ())
    return {
        "frames": first.boxes is not None,
        "networks": shown,
        "query": _images(first.names, first.ids.tolist(), _cameras(first), folder) | {"boxes": first.boxes},
        "gallery": _images(found_names, found_ids, found_cameras, folder) if gallery else None,
    }


def _cameras(queries: Queries) -> list[int | None]:
    return [None] * len(queries.names) if queries.cameras is None else queries.cameras.tolist()


def _found(one: Any, gallery: dict[tuple[str, int | None, int | None], int]) -> list[float | None]:
    """A place in the gallery and how far it is, and of a box whether it is right and its corners."""
    is_box = isinstance(one, FoundBox)
    image = (one.name, None if is_box else one.identity, one.camera)
    place = gallery.setdefault(image, len(gallery))
    if is_box:
        return [place, shortened(one.similarity), int(one.right), *one.box]
    return [place, shortened(one.distance)]


def _images(names: Sequence[str], ids: Sequence[int | None], cameras: Sequence[int | None], folder: Path) -> dict:
    """Images by their place: names without the folder `root` of all, and where a page in `folder` finds that."""
    common = os.path.commonprefix(names)  # noqa: RUF071 - it is cut at a slash
    root = common[: common.rfind("/") + 1]
    is_here = bool(names) and Path(names[0]).is_file()
    return {
        "root": root,
        "names": [name.removeprefix(root) for name in names],
        "ids": ids,
        "cameras": None if None in cameras else cameras,
        "folder": f"./{Path(os.path.relpath(root or '.', folder.resolve())).as_posix()}/" if is_here else None,
    }


def thumbnails(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a run's folder the small images: by side and the image's name, the source and the whole image's size.

    Raises ValueError naming a file that is not as the evaluation left it.
    """
    folder = folder / THUMBNAILS
    path = folder / "index.json"
    if not path.is_file():
        return {side: {} for side in SIDES}
    listed = read_object(path)
    with blamed_on(path):
        return {
            side: {
                name: {"source": _source(folder / Path(file).name), "size": [int(width), int(height)]}
                for name, (file, width, height) in listed[side].items()
            }
            for side in SIDES
        }


def _source(path: Path) -> str:
    """A JPEG file as the source of an `<img>`."""
    content = path.read_bytes()
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            image.verify()
    except Exception as error:  # Pillow's decoders raise nearly every type
        raise ValueError(f"{path} must be a JPEG, and cannot be read ({reason_of(error)}): remove it") from error
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
