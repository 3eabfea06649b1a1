"""The numbers behind the plots of `nas.report.retrieval_plots`, as `plots/*.json` beside them; a page draws them again.

Each file is written from the same objects as its picture, and read with every number checked: a folder may be a
stranger's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.metrics.camera_pairs import CameraPairs
from nas.metrics.pairs import PairDistances
from nas.report.query_results import Queries
from nas.report.scripts import shortened
from nas.system.files import blamed_on, check_format, read_object

FORMAT = 1
MOST_BINS = 400
"""Of the distances of pairs: more than a plot has pixels for would only make it slow."""
MOST_STEPS = 400
"""Of a CMC curve."""


def distance_numbers(pairs: PairDistances) -> dict[str, Any]:
    """How many right and wrong pairs there are between two `edges`, and how well they can be told apart."""
    first, last = np.flatnonzero(pairs.right + pairs.wrong)[[0, -1]]
    step = max(1, -(-(last + 1 - first) // MOST_BINS))
    starts = np.arange(first, last + 1, step)
    ends = np.minimum(starts + step, len(pairs.right))
    return {
        "format": FORMAT,
        "distance": pairs.distance,
        "edges": [*pairs.edges[starts].tolist(), float(pairs.edges[ends[-1]])],
        "right": np.add.reduceat(pairs.right[: ends[-1]], starts).tolist(),
        "wrong": np.add.reduceat(pairs.wrong[: ends[-1]], starts).tolist(),
    }


def camera_numbers(pairs: CameraPairs) -> dict[str, Any]:
    """mAP and rank-1 `[C, K]` of each query camera in each gallery camera, null for a pair without queries."""
    return {
        "format": FORMAT,
        "query_cameras": pairs.query_cameras.tolist(),
        "gallery_cameras": pairs.gallery_cameras.tolist(),
        "num_queries": pairs.num_queries.tolist(),
        **{
            name: [[None if np.isnan(value) else value for value in row] for row in shares.tolist()]
            for name, shares in (("mAP", pairs.mAP), ("rank1", pairs.rank1))
        },
    }


def plane_numbers(
    places: np.ndarray, perplexity: float, ids: np.ndarray, cameras: np.ndarray | None, names: Sequence[str]
) -> dict[str, Any]:
    """Images in the plane `[N, 2]`; `names` are those of their files, or none where nobody knows."""
    return {
        "format": FORMAT,
        "perplexity": perplexity,
        "places": places.round(3).tolist(),
        "identities": ids.tolist(),
        "cameras": None if cameras is None else cameras.tolist(),
        "names": list(names) or None,
    }


def read_plot(path: Path) -> dict[str, Any] | None:
    """What `draw_plots` wrote of one plot; None where there is no file.

    Raises ValueError naming the file when it is not as it was written.
    """
    if not path.is_file():
        return None
    data = read_object(path)
    with blamed_on(path):
        check_format(data, FORMAT, path)
        return READERS[path.stem](data)


def _read_distances(data: Mapping[str, Any]) -> dict[str, Any]:
    edges, right, wrong = ([shortened(value, 6) for value in data[key]] for key in ("edges", "right", "wrong"))
    if not len(right) == len(wrong) == len(edges) - 1 or None in (*edges, *right, *wrong):
        raise ValueError("edges must be one number more than right and wrong, which are numbers of pairs")
    return {"distance": str(data["distance"]), "edges": edges, "right": right, "wrong": wrong}


def _read_cameras(data: Mapping[str, Any]) -> dict[str, Any]:
    rows, columns = ([int(camera) for camera in data[key]] for key in ("query_cameras", "gallery_cameras"))
    tables = {
        key: [[shortened(value) for value in row] for row in data[key]] for key in ("num_queries", "mAP", "rank1")
    }
    if any(len(table) != len(rows) or {*map(len, table)} - {len(columns)} for table in tables.values()):
        raise ValueError("num_queries, mAP and rank1 must have a row for each query camera, a column for each other")
    return {"rows": rows, "columns": columns, **tables}


def _read_plane(data: Mapping[str, Any]) -> dict[str, Any]:
    places = [[shortened(x), shortened(y)] for x, y in data["places"]]
    lists = {key: data.get(key) for key in ("identities", "cameras", "names")}
    if any(values is not None and len(values) != len(places) for values in lists.values()):
        raise ValueError("identities, cameras and names must be as many as places")
    return {
        "perplexity": shortened(data["perplexity"], 3),
        "places": places,
        "identities": [int(each) for each in data["identities"]],
        "cameras": lists["cameras"] and [int(each) for each in lists["cameras"]],
        "names": lists["names"] and [str(each) for each in lists["names"]],
    }


READERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "distances": _read_distances,
    "cameras": _read_cameras,
    "tsne": _read_plane,
}


def matching_rates(queries: Mapping[str, Queries], num_gallery: int | None) -> dict[str, Any] | None:
    """CMC curves from the first rank to the last match of any query, exactly: a step where some query has its first
    match. By the networks' names; None without any."""
    series = []
    for name, each in queries.items():
        answered = ~np.isnan(each.average_precision)
        ranks, steps = np.unique(each.first_match_rank[answered & (each.first_match_rank > 0)], return_counts=True)
        if not len(ranks):
            continue
        rates = 100 * np.cumsum(steps) / answered.sum()
        chosen = np.unique(np.linspace(0, len(ranks) - 1, min(MOST_STEPS, len(ranks))).round().astype(int))
        x, y = ranks[chosen].tolist(), [shortened(rate) for rate in rates[chosen].tolist()]
        if x[0] > 1:
            x, y = [1, *x], [0.0, *y]
        if num_gallery:
            x, y = [*x, num_gallery], [*y, y[-1]]
        series.append({"name": name, "x": x, "y": y, "step": True})
    if not series:
        return None
    return {
        "label": "Cumulative matching characteristics of each network",
        "x": {"name": "rank", "log": True, "min": 1, "whole": True},
        "y": {"min": 0, "max": 100},
        "series": series,
        "dashed": True,
    }


def receiver_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The share of right pairs that are let in against that of wrong ones, of each verified row; None without any."""
    verified = [(str(row.get("name")), row["verification"]["roc"]) for row in rows if row.get("verification")]
    if not verified:
        return None
    least = max(1e-6, min((rate for _, curve in verified for rate in curve["fpr"] if rate > 0), default=1e-2))
    return {
        "label": "Receiver operating characteristics: right pairs let in against wrong pairs let in",
        "x": {"name": "wrong pairs let in (FPR)", "log": True, "min": least, "max": 1},
        "y": {"min": 0, "max": 100},
        "series": [
            {
                "name": name,
                "x": [shortened(max(rate, least)) for rate in curve["fpr"]],
                "y": [shortened(100 * rate) for rate in curve["tpr"]],
                "step": True,
            }
            for name, curve in verified
        ],
        "dashed": True,
    }
