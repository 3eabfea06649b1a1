"""What the commands share that take a network to a user's own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.data.own_images import own_images
from nas.metrics.distance import check_features
from nas.models.card import Card
from nas.models.extractor import Extractor
from nas.models.gallery import Gallery, is_gallery
from nas.models.person_finder import PersonFinder
from nas.report.metrics import read_metrics, thresholds_of
from nas.run import RESULTS
from nas.system.files import blamed_on, digest

Progress = Callable[[int, int], None] | None
ROLES = {"teach": "teacher", "retrain": "student"}
"""What an evaluation calls the networks of stages whose own name it does not use."""


def open_extractor(subject: Path, **how: Any) -> Extractor:
    """The network of a run or a file, with the thresholds that `nas evaluate` measured of it, if it did. `how`: see
    `Extractor`."""
    extractor = Extractor(subject, **how)
    extractor.card = measured_card(extractor.card, extractor.path)
    return extractor


def measured_card(card: Card, path: Path) -> Card:
    """The card with the thresholds in `metrics.json` beside a run's network, if they are of this file and distance."""
    metrics_file = path.parent / "metrics.json"
    stage = next((stage for stage, name in RESULTS.items() if name == path.name), None)
    if card.thresholds or card.eer_threshold is not None or stage is None or not metrics_file.is_file():
        return card
    metrics = read_metrics(metrics_file)
    with blamed_on(metrics_file):
        is_same = metrics.get("measured", {}).get(path.name) == digest(path)
        if not is_same or (metrics.get("protocol") or {}).get("distance") != card.distance:
            return card
        thresholds, equal = thresholds_of(metrics, ROLES.get(stage, stage))
    return replace(card, thresholds=thresholds, eer_threshold=equal)


def named_thresholds(card: Card) -> dict[str, float]:
    """The largest distances of one identity, by the names that they have for people, the strictest last."""
    equal = {} if card.eer_threshold is None else {"EER": card.eer_threshold}
    return equal | {f"FPR {rate:g}": threshold for rate, threshold in sorted(card.thresholds, reverse=True)}


def gallery_of(
    extractor: Extractor | PersonFinder, subject: Path, split: str = "", progress: Progress = None
) -> Gallery:
    """The features of a folder's or a CSV file's images, or those that a file holds.

    Raises ValueError where a file's features are of another network, and for images that cannot be read.
    """
    if is_gallery(subject):
        if split:
            raise ValueError(f"{subject} holds features, which have no splits: leave --split out")
        gallery = Gallery.load(subject)
        if gallery.network != extractor.id:
            raise ValueError(
                f"{subject} has the features of another network ({gallery.network}, not {extractor.id} of "
                f"{extractor.path}): give that network, or make them anew with `nas features`"
            )
        return gallery
    images = own_images(subject, split)
    features = extractor(images.paths, progress)
    check_features(features, features, extractor.distance)
    return Gallery(
        features=features,
        names=images.names,
        folder=images.folder,
        network=extractor.id,
        identities=images.identities,
    )


def check_new(paths: list[Path], overwrite: bool) -> None:
    """Raises ValueError for a file that is there already, unless it may be replaced."""
    if there := [path for path in paths if path.exists() and not overwrite]:
        raise ValueError(f"{there[0]} exists: give --out another place, or --overwrite to replace it")
