"""What a page's browser of queries shows, as plain data: every query of every network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.metrics.bootstrap import percentile_interval, resampled_means
from nas.report.query_results import FoundBox, Queries
from nas.report.scripts import shortened

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
