"""Pictures of what one network retrieves, as files: strips of queries, features in the plane, distances, cameras."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure

from nas.data.base import ReIDData
from nas.data.checks import listing
from nas.metrics.camera_pairs import camera_pairs
from nas.metrics.pairs import pair_distances
from nas.metrics.retrieval import Retrieval, ranked_gallery
from nas.report.retrieval_data import camera_numbers, distance_numbers, plane_numbers
from nas.report.retrieval_plots import camera_table, chosen_identities, distance_histogram, plane, spread_in_plane
from nas.report.strips import spread, strip, write_picture
from nas.report.style import svg
from nas.report.thumbnails import ends_and_middle, write_thumbnails
from nas.system.files import write_json, write_text
from nas.tasks.reid.features import Features
from nas.tasks.reid.settings import Evaluation

RANKED = 10

T = TypeVar("T")


def draw_strips(folder: Path, data: ReIDData, features: Features, result: Retrieval, how: Evaluation) -> None:
    """Pictures of queries with their ranked gallery: the worst, the median and the best, evenly spread."""
    if not how.num_strips:
        return
    answered = np.flatnonzero(result.first_match_rank > 0)
    chosen = spread(answered, result.average_precision[answered], how.num_strips)
    part = features.partition(chosen, np.arange(len(features.query), len(features.query) + len(features.gallery)))
    nearest = ranked_gallery(*part.retrieval_arguments, k=RANKED, distance=how.distance, same_camera=how.same_camera)
    for number, (i, row) in enumerate(zip(chosen, nearest.tolist(), strict=True)):
        ranked = [j for j in row if j >= 0]
        right = [bool(data.gallery.ids[j] == data.query.ids[i]) for j in ranked]
        cameras = ["" if data.gallery.cameras is None else f"camera {data.gallery.cameras[j]}" for j in ranked]
        captions = [f"AP {100 * result.average_precision[i]:.0f}", *cameras]
        images = [data.gallery.images.read(j) for j in ranked]
        picture = strip(data.query.images.read(int(i)), images, right, captions)
        write_picture(picture, folder / f"{number:02d}.png")


def draw_thumbnails(
    folder: Path, data: ReIDData, results: Sequence[Retrieval], further: np.ndarray, how: Evaluation
) -> np.ndarray:
    """Small images of the last result's worst, median and best queries, whose indices are returned, of all gallery
    images that any result found for them, and of `further` ones of the gallery."""
    if not how.num_thumbnails:
        return np.empty(0, dtype=np.int64)
    last = results[-1]
    answered = np.flatnonzero(last.first_match_rank > 0)
    queries = ends_and_middle(answered, last.average_precision[answered], how.num_thumbnails)
    found = np.concatenate([further, *(result.nearest[queries].ravel() for result in results)])
    images = {"query": data.query.images, "gallery": data.gallery.images}
    write_thumbnails(folder, images, {"query": queries, "gallery": found})
    return queries


def draw_plots(folder: Path, features: Features, how: Evaluation, names: Sequence[str] = ()) -> np.ndarray:
    """Writes `distances`, `tsne` and, where there are cameras, `cameras`, each as a picture (`.svg`) and as its numbers
    (`.json`). `names`: those of the gallery. Returns the indices of the images of the t-SNE.

    What a small or degenerate data set does not give (no wrong pair, too few images for a t-SNE, features that are all
    the same) is left out with a warning.
    """
    arrays = features.retrieval_arguments
    rules: dict[str, Any] = {"distance": how.distance, "same_camera": how.same_camera}
    drawn: list[np.ndarray] = []
    plots: dict[str, Callable[[], tuple[Figure, dict[str, Any]]]] = {
        "distances": lambda: _both(pair_distances(*arrays, **rules), distance_histogram, distance_numbers),
        "tsne": lambda: _tsne(features, how, names, drawn),
    }
    if features.has_cameras:
        plots["cameras"] = lambda: _both(camera_pairs(*arrays, ap=how.ap, **rules), camera_table, camera_numbers)
    for name, plot in plots.items():
        try:
            figure, numbers = plot()
        except ValueError as error:
            warnings.warn(f"no {name}.svg was drawn: {error}", stacklevel=2)
        else:
            write_text(folder / f"{name}.svg", svg(figure))
            write_json(folder / f"{name}.json", numbers)
    return drawn[0] if drawn else np.empty(0, dtype=np.int64)


def _both(
    measured: T, picture: Callable[[T], Figure], numbers: Callable[[T], dict[str, Any]]
) -> tuple[Figure, dict[str, Any]]:
    return picture(measured), numbers(measured)


def _tsne(
    features: Features, how: Evaluation, names: Sequence[str], drawn: list[np.ndarray]
) -> tuple[Figure, dict[str, Any]]:
    """The gallery images of `how.tsne_ids`, or of identities that many cameras see; their indices go into `drawn`."""
    ids = features.gallery_ids.numpy()
    seen_by = features.gallery_cameras if features.has_cameras else None
    cameras = None if seen_by is None else seen_by.numpy()
    chosen = how.tsne_ids or chosen_identities(features.query_ids.numpy(), ids, cameras)
    if len(strangers := np.setdiff1d(chosen, ids)):
        raise ValueError(f"tsne_ids must be identities of the gallery, but it has no image of {listing(strangers)}")
    mine = np.flatnonzero(np.isin(ids, chosen))
    shown = features.gallery[torch.from_numpy(mine).to(features.gallery.device)].float().cpu().numpy()
    places, perplexity = spread_in_plane(shown, distance=how.distance)
    drawn.append(mine)
    labels = ids[mine], None if cameras is None else cameras[mine]
    named = [names[i] for i in mine.tolist()] if names else []
    return plane(places, perplexity, *labels), plane_numbers(places, perplexity, *labels, named)
