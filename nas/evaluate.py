"""`nas evaluate`: what the student, its teacher and its rival are worth, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.checkpoint import write_json, write_whole
from nas.data.base import ReIDData, Split
from nas.features import retrieval
from nas.metrics.latency import latency
from nas.metrics.retrieval import Retrieval, ranked_gallery
from nas.network import Network, feature_net
from nas.recipe import Recipe
from nas.report.strips import strip
from nas.run import RESULTS, Run
from nas.stage import Stage
from nas.teach import teacher_path
from nas.training import cached
from search_spaces.cost import cost

FORMAT = 1
RANKED = 10


def evaluate(run: Run) -> dict[str, Any]:
    """Measures every trained network of the run on the test split; writes `metrics.json` and query strips."""
    recipe = run.recipe
    networks = trained(run)
    data = recipe.load()
    query, gallery = cached(data.query, recipe.images), cached(data.gallery, recipe.images)
    stage = Stage(run.folder, "evaluate", "", recipe.machine)
    rows, cmc = [], {}
    for role, network in networks.items():
        stage.prepare(network.net)
        result, *features = retrieval(network.net, query, gallery, stage, recipe.evaluation)
        name = f"{role} ({network.title})"
        rows.append({"name": name, **accuracy(result), **price(network, recipe, stage)})
        cmc[name] = result.cmc.tolist()
        if role == "student":
            draw_strips(run.folder / "strips", data, features, result, recipe)
    protocol = {key: result.summary()[key] for key in ("distance", "ap", "same_camera", "num_queries", "num_skipped")}
    size = {"height": recipe.images.height, "width": recipe.images.width}
    metrics = {"format": FORMAT, "data": data.name, "protocol": protocol | size, "rows": rows, "cmc": cmc}
    write_json(run.folder / "metrics.json", metrics)
    return metrics


def trained(run: Run) -> dict[str, Network]:
    """The run's networks by their role, as far as they are trained. Raises ValueError without a student."""
    student = run.folder / RESULTS["retrain"]
    if not student.exists():
        raise ValueError(f"{run.folder} has no student.safetensors yet: `nas retrain {run.folder}` comes first")
    rival = run.folder / RESULTS["rival"]
    paths = {"teacher": teacher_path(run), "hand-made": rival if rival.exists() else None, "student": student}
    return {role: Network.load(path) for role, path in paths.items() if path is not None}


def accuracy(result: Retrieval) -> dict[str, float]:
    """The numbers of a table's row."""
    return {"mAP": result.mAP, "mINP": result.mINP, **{f"rank{k}": result.rank(k) for k in (1, 5, 10)}}


def price(network: Network, recipe: Recipe, stage: Stage) -> dict[str, float]:
    """Parameters and multiply-adds without the classifier, and the time for an image alone and in a batch of 128."""
    net = feature_net(network.net)
    spent = cost(net, recipe.images.height, recipe.images.width)
    with stage.autocast():
        times = {f"ms_per_image_{size}": latency(net, recipe.images.height, recipe.images.width, size,
                                                 stage.fabric.device, num_warmup=2, num_runs=5) for size in (1, 128)}
    return {"parameters": spent.parameters, "multiply_adds": spent.multiply_adds, **times}


def draw_strips(folder: Path, data: ReIDData, features: list, result: Retrieval, recipe: Recipe) -> None:
    """Pictures of queries with their ranked gallery: the worst, the median and the best, evenly spread."""
    answered = np.flatnonzero(result.first_match_rank > 0)
    by_precision = answered[np.argsort(result.average_precision[answered], kind="stable")]
    places = np.linspace(0, len(by_precision) - 1, min(recipe.evaluation.num_strips, len(by_precision))).round()
    chosen = by_precision[places.astype(int)]
    query, gallery = data.query, data.gallery
    cameras = [None if s.cameras is None else s.cameras for s in (query, gallery)]
    nearest = ranked_gallery(features[0][chosen], features[1], query.ids[chosen], gallery.ids,
                             None if cameras[0] is None else cameras[0][chosen], cameras[1], k=RANKED,
                             distance=recipe.evaluation.distance, same_camera=recipe.evaluation.same_camera)
    for number, (i, row) in enumerate(zip(chosen, nearest.tolist(), strict=True)):
        picture = _strip(query, int(i), gallery, [j for j in row if j >= 0], result.average_precision[i])
        write_whole(folder / f"{number:02d}.png", lambda path, picture=picture: picture.save(path, format="PNG"))


def _strip(query: Split, i: int, gallery: Split, ranked: list[int], precision: float) -> Image.Image:
    right = [bool(gallery.ids[j] == query.ids[i]) for j in ranked]
    cameras = ["" if gallery.cameras is None else f"camera {gallery.cameras[j]}" for j in ranked]
    captions = [f"AP {100 * precision:.0f}", *cameras]
    return strip(query.images.read(i), [gallery.images.read(j) for j in ranked], right, captions)
