"""Measuring networks on a test split: what they find, what each query found, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.base import ReIDData, Split
from nas.data.images import Images
from nas.metrics.pairs import pair_distances
from nas.metrics.retrieval import Retrieval
from nas.metrics.verification import BINS, verification
from nas.models.network import FeatureNet
from nas.models.onnx import OnnxNet
from nas.report.metrics import FORMAT
from nas.report.query_results import Found, Queries
from nas.system.files import write_json
from nas.tasks.base import EvaluatedNetwork
from nas.tasks.reid.activation import draw_activation_maps
from nas.tasks.reid.features import Features, extract
from nas.tasks.reid.feed import cached
from nas.tasks.reid.pictures import draw_plots, draw_strips, draw_thumbnails
from nas.tasks.reid.settings import Evaluation
from nas.tasks.timing import timed
from nas.training.stage import Stage
from search_spaces.cost.counting import cost
from search_spaces.cost.latency import Runtime

PROTOCOL = ("distance", "ap", "same_camera", "num_queries", "num_skipped")
TABLE_RANKS = (1, 5, 10, 20)
NUM_FOUND = 10
"""Gallery images that the file of single queries names for each."""
TIMED = ((1, 2, 5), (128, 1, 3))
"""Batch sizes, and how many passes of each warm up and count: a pass of 128 images is an average already."""


def measure(
    networks: Sequence[EvaluatedNetwork],
    data: ReIDData,
    images: Images,
    how: Evaluation,
    stage: Stage,
    **further: object,
) -> dict[str, Any]:
    """Measures networks one after the other. `further` goes into `metrics.json` as it is.

    Writes `metrics.json` into the stage's folder; for each network `features/` and what each query found, `queries/`;
    for the last one `strips/` of queries from the worst to the best, `plots/`, and `thumbnails/` for the page.
    """
    query, gallery = cached(data.query, images), cached(data.gallery, images)
    names = (_names(data.query), _names(data.gallery))
    runtime = stage.machine.runtime(how.runtime)
    found: list[tuple[dict, Retrieval]] = []
    for network in networks:
        stage.prepare(network.net)
        with stage.timed(f"{network.role}: features of {len(query) + len(gallery)} images"):
            features = extract(network.net, query, gallery, stage, how, progress=True)
        features.save(stage.folder / "features" / f"{network.role}.safetensors")
        with stage.timed(f"{network.role}: cost and latency"):
            spent = price(network, images, runtime)
        with stage.timed(f"{network.role}: ranking of {len(gallery)} images for {len(query)} queries"):
            results = judged(features, network.role, network.name, how, data.partitions)
        found += [(row | spent, result) for row, result in write_queries(stage.folder, results, names, features)]
    plain = results[0][1]
    with stage.timed("pictures of queries and features"):
        draw_strips(stage.folder / "strips", data, features, plain, how)
        shown = draw_plots(stage.folder / "plots", features, how, names[1])
        chosen = draw_thumbnails(stage.folder, data, [result for _, result in found], shown, how)
        if how.activation_maps and len(chosen):
            draw_activation_maps(stage.folder, network.net, (query, gallery), features, plain, chosen)
    sizes = {"num_gallery": len(data.gallery), "height": images.height, "width": images.width, "flip": how.flip}
    return write_metrics(stage.folder, data.name, sizes, found, **further)


def judged(
    features: Features, role: str, name: str, how: Evaluation, partitions: Sequence[tuple[np.ndarray, np.ndarray]] = ()
) -> list[tuple[dict, Retrieval]]:
    """A row of the table and the (first) result behind it, and those after re-ranking where it is asked for. Pairs are
    verified before re-ranking, and of a protocol with repeats those of the first."""
    parts = [features, *(features.partition(*part) for part in partitions[1 : how.repeats])]
    found = []
    for rerank in (None, how.reranking) if how.rerank else (None,):
        results = [part.evaluate(how, rerank, NUM_FOUND) for part in parts]
        row: dict[str, Any] = {"name": name, "role": role, "queries": f"queries/{role}.csv"}
        if rerank is not None:
            row = {
                "name": f"{name}, re-ranked",
                "role": role,
                "rerank": asdict(rerank),
                "queries": f"queries/{role}-reranked.csv",
            }
        elif (verified := verified_pairs(features, how)) is not None:
            row["verification"] = verified
        found.append((row | accuracy(results), results[0]))
    return found


def verified_pairs(features: Features, how: Evaluation) -> dict[str, Any] | None:
    """What thresholds on the distance are worth, as plain data; None where there are no right or no wrong pairs, as the
    pictures say then."""
    arrays, rules = features.retrieval_arguments, {"distance": how.distance, "same_camera": how.same_camera}
    try:
        pairs = pair_distances(*arrays, **rules, bins=BINS)  # type: ignore[arg-type] # mypy's view of a dict of choices
    except ValueError:
        return None
    return verification(pairs).summary()


def accuracy(results: Sequence[Retrieval]) -> dict[str, float]:
    """The numbers of a table's row: of one evaluation, or means over a protocol's repeats and their deviations."""
    numbers = [
        {"mAP": result.mAP, "mINP": result.mINP, **{f"rank{k}": result.rank(k) for k in TABLE_RANKS}}
        for result in results
    ]
    row = {name: float(np.mean([each[name] for each in numbers])) for name in numbers[0]}
    if len(results) == 1:
        return row
    deviations = {f"{name}_sd": float(np.std([each[name] for each in numbers], ddof=1)) for name in row}
    return row | deviations | {"repeats": len(results)}


def price(network: EvaluatedNetwork, images: Images, runtime: Runtime) -> dict[str, Any]:
    """Parameters and multiply-adds without the classifier, and the time for an image alone and in a batch of 128.

    Of an ONNX file the multiply-adds are not known.
    """
    net, height, width = network.net, images.height, images.width
    if isinstance(net, OnnxNet):
        spent = {"parameters": net.num_parameters}
    else:
        net = FeatureNet(net)
        counted = cost(net, height, width)
        spent = {"parameters": counted.parameters, "multiply_adds": counted.multiply_adds}
    return spent | timed(net, network.name, height, width, runtime, TIMED)


def write_queries(
    folder: Path,
    results: Sequence[tuple[dict, Retrieval]],
    names: tuple[Sequence[str], Sequence[str]],
    features: Features,
) -> Sequence[tuple[dict, Retrieval]]:
    """Writes what each query found where the rows say; gives the results back. `names`: of queries and gallery."""
    query_names, gallery_names = names
    ids, cameras = features.query_ids.numpy(), features.query_cameras
    for row, result in results:
        Queries(
            names=tuple(query_names),
            ids=ids,
            cameras=None if cameras is None else cameras.numpy(),
            average_precision=result.average_precision,
            first_match_rank=result.first_match_rank,
            found=_found(result, gallery_names, features),
        ).save(folder / row["queries"])
    return results


def _found(result: Retrieval, names: Sequence[str], features: Features) -> tuple[tuple[Found, ...], ...]:
    """The gallery images nearest to each query."""
    ids, cameras = features.gallery_ids.tolist(), features.gallery_cameras
    of_camera = [None] * len(ids) if cameras is None else cameras.tolist()
    return tuple(
        tuple(
            Found(name=names[i], identity=ids[i], camera=of_camera[i], distance=round(distance, 6))
            for i, distance in zip(nearest, distances, strict=True)
            if i >= 0
        )
        for nearest, distances in zip(result.nearest.tolist(), result.nearest_distance.tolist(), strict=True)
    )


def _names(split: Split) -> list[str]:
    return [split.images.name(i) for i in range(len(split))]


def write_metrics(
    folder: Path, data_name: str, sizes: dict[str, int], found: Sequence[tuple[dict, Retrieval]], **further: object
) -> dict[str, Any]:
    """Writes `metrics.json`: the table's rows, their CMC curves, and the protocol they were measured by."""
    rules = found[0][1].summary()
    protocol = {key: rules[key] for key in PROTOCOL} | sizes
    metrics = {
        "format": FORMAT,
        "data": data_name,
        **further,
        "protocol": protocol,
        "rows": [row for row, _ in found],
        "cmc": {row["name"]: result.cmc.tolist() for row, result in found},
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
