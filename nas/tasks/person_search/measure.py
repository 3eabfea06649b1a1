"""Measuring networks for person search on a test split: what they find, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scenes import SceneData
from nas.metrics.detection import Detection
from nas.metrics.person_search import PersonSearch
from nas.report.metrics import FORMAT
from nas.report.query_results import FoundBox, Queries
from nas.system.files import write_json
from nas.tasks.base import EvaluatedNetwork
from nas.tasks.person_search.deployed import Deployed
from nas.tasks.person_search.feed import cached, usual_size
from nas.tasks.person_search.found import Found
from nas.tasks.person_search.guided import FoundByQuery, find_by
from nas.tasks.person_search.pictures import draw_sheets, draw_strips, draw_thumbnails
from nas.tasks.person_search.settings import SearchEvaluation
from nas.tasks.timing import timed
from nas.training.stage import Stage
from search_spaces.cost.counting import cost
from search_spaces.cost.latency import Runtime

TABLE_RANKS = (1, 5, 10)
TIMED = ((1, 2, 5),)
"""Batch sizes, and how many passes of each warm up and count."""
NUM_BEST = 10
"""Frames that are named, and drawn, as those that a query found."""


def measure(
    networks: Sequence[EvaluatedNetwork],
    data: SceneData,
    size: SceneSize,
    how: SearchEvaluation,
    stage: Stage,
    **further: object,
) -> dict[str, Any]:
    """Measures networks one after the other. `further` goes into `metrics.json` as it is.

    Writes `metrics.json` into the stage's folder; for each network `features/` and what each query found, `queries/`;
    for the last one `strips/` of queries and `sheets/` of detections, each from the worst to the best. The page's
    `thumbnails/` are of all networks. What a query-guided network detects is another for each query, so it has no
    detection to measure.
    """
    cache, runtime = cached(data.test, size), stage.machine.runtime(how.runtime)
    rows, curves, results = [], {}, []
    for network in networks:
        stage.prepare(network.net)
        found = find_by(network.net, cache, data.queries, stage, how, network.role)
        found.save(stage.folder / "features" / f"{network.role}.safetensors")
        detection = found.detection(cache, how)
        row: dict[str, Any] = {"name": network.name, "role": network.role}
        row |= detected(detection) if detection else {}
        searched = found.search(cache, data.queries, how, NUM_BEST)
        if searched is not None:
            row |= {"queries": f"queries/{network.role}.csv", **accuracy(searched)}
            curves[network.name] = searched.cmc.tolist()
            results.append((found, searched))
            queries_of(searched, found, cache, data).save(stage.folder / row["queries"])
        rows.append(row | price(network, cache, runtime))
    if searched is not None:
        draw_strips(stage.folder / "strips", cache, data, found, searched, how.num_strips)
    draw_thumbnails(stage.folder, cache, data, results, how.num_thumbnails)
    if detection is not None:
        draw_sheets(stage.folder / "sheets", cache, found, detection, how)
    protocol = {
        "same_camera": how.same_camera,
        "min_score": how.min_score,
        "min_iou": how.min_iou,
        "num_queries": len(data.queries),
        "num_skipped": searched.num_skipped if searched else 0,
        "num_frames": len(data.test),
        "num_boxes": len(cache.split.all_boxes.ids),
        "short_side": size.short_side,
        "long_side": size.long_side,
    }
    metrics = {"format": FORMAT, "data": data.name, **further, "protocol": protocol, "rows": rows, "cmc": curves}
    write_json(stage.folder / "metrics.json", metrics)
    return metrics


def accuracy(result: PersonSearch) -> dict[str, float]:
    """The search's numbers in a table's row; rank-k is what person search calls top-k."""
    return {"mAP": result.mAP, **{f"rank{k}": result.rank(k) for k in TABLE_RANKS}}


def detected(result: Detection) -> dict[str, float]:
    """The detection's numbers in a table's row."""
    return {"detection_AP": result.ap, "detection_recall": result.recall}


def queries_of(result: PersonSearch, found: Found | FoundByQuery, cache: SceneCache, data: SceneData) -> Queries:
    """What each query found: the nearest box of each of the nearest frames."""
    queries, cameras = data.queries, cache.split.cameras
    return Queries(
        names=tuple(cache.split.images.name(frame) for frame in queries.frames.tolist()),
        boxes=tuple(map(tuple, queries.boxes.tolist())),
        ids=queries.ids,
        cameras=None if cameras is None else cameras[queries.frames],
        average_precision=result.average_precision,
        first_match_rank=result.first_match_rank,
        found=tuple(
            tuple(_found_boxes(query, best[best >= 0], right, found, cache))
            for query, (best, right) in enumerate(zip(result.best, result.right, strict=True))
        ),
    )


def _found_boxes(
    query: int, places: np.ndarray, right: np.ndarray, found: Found | FoundByQuery, cache: SceneCache
) -> Iterator[FoundBox]:
    similar = found.similarities(query, places)
    for place, is_right, similarity in zip(places.tolist(), right.tolist(), similar, strict=False):
        frame = int(found.frames[place])
        yield FoundBox(
            name=cache.split.images.name(frame),
            box=tuple(found.boxes[place].tolist()),
            camera=None if cache.split.cameras is None else int(cache.split.cameras[frame]),
            right=is_right,
            similarity=round(similarity, 6),
        )


def price(network: EvaluatedNetwork, cache: SceneCache, runtime: Runtime) -> dict[str, Any]:
    """Parameters, multiply-adds and milliseconds of a frame of the most usual size, with a fixed number of regions; of
    a query-guided network those of a pair."""
    height, width = usual_size(cache)
    net = Deployed(network.net)
    counted = cost(net, height, width)
    spent = {"parameters": counted.parameters, "multiply_adds": counted.multiply_adds}
    return spent | timed(net, network.name, height, width, runtime, TIMED)
