"""Distances of right and of wrong pairs, as retrieval sees them, counted in fixed bins."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.metrics.distance import Distance, check_features, distances
from nas.metrics.retrieval import SameCamera, is_junk


@dataclass(frozen=True, kw_only=True, eq=False)
class PairDistances:
    """How many right and wrong pairs `[B]` have a distance in each of the bins between `edges [B + 1]`."""

    edges: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    distance: Distance

    @property
    def equal_error_rate(self) -> float:
        """The share of right pairs beyond the distance within which as large a share of the wrong ones lies.

        Exact at the bins' edges, linear between them.
        """
        within, let_in = (np.concatenate([[0], n.cumsum()]) / n.sum() for n in (self.right, self.wrong))
        gap = 1 - within - let_in
        after = int(np.argmax(gap <= 0))
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(let_in[after - 1] + share * (let_in[after] - let_in[after - 1]))

    @property
    def d_prime(self) -> float:
        """The distance of the two means in standard deviations (root of the mean variance); nan when those are 0."""
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        right, wrong = (np.average(centres, weights=counts) for counts in (self.right, self.wrong))
        variance = np.average((centres - right) ** 2, weights=self.right)
        variance += np.average((centres - wrong) ** 2, weights=self.wrong)
        deviation = np.sqrt(variance / 2)
        return float((wrong - right) / deviation) if deviation else float("nan")


def pair_distances(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
    *,
    distance: Distance = "cosine",
    same_camera: SameCamera = "remove",
    bins: int = 2000,
    block: int = 128,
) -> PairDistances:
    """Counts the pairs that `evaluate_retrieval` ranks: without junk and without queries that have no match.

    The bins are equal and reach from 0 to the largest distance there can be: 2 for cosine, for Euclidean the sum of the
    largest norms. Memory grows with `block * G`. Raises ValueError for features that do not fit, for labels of another
    length, for missing cameras, and when no query has a match.
    """
    check_features(query, gallery, distance)
    query_ids, gallery_ids = _labels("identity", query, gallery, query_ids, gallery_ids)
    cameras = None
    if same_camera == "remove":
        cameras = _labels("camera", query, gallery, query_cameras, gallery_cameras)
    square = [features.float().square().sum(dim=1) for features in (query, gallery)]
    top = 2.0 if distance == "cosine" else float(sum(part.max().sqrt() for part in square)) or 1.0
    counts = torch.zeros(2 * bins + 1, dtype=torch.int64, device=query.device)
    for rows, far in distances(query, gallery, distance, block):
        right = query_ids[rows, None] == gallery_ids
        junk = is_junk(gallery_ids)
        if cameras:
            junk = junk | (right & (cameras[0][rows, None] == cameras[1]))
        junk = junk | ~(right & ~junk).any(dim=1, keepdim=True)
        far = far.add_(1) if distance == "cosine" else far.mul_(2).add_(square[0][rows, None]).clamp_(min=0).sqrt_()
        place = far.mul_(bins / top).clamp_(0, bins - 1).int().add_(bins * right)
        counts += torch.bincount(place.masked_fill_(junk, 2 * bins).flatten(), minlength=2 * bins + 1)
    num_wrong, num_right = counts[:-1].cpu().numpy().reshape(2, bins)
    if not num_right.any() or not num_wrong.any():
        raise ValueError(
            f"there must be right and wrong pairs, got {num_right.sum()} and {num_wrong.sum()}; check that query "
            "and gallery are of one data set and that ids and cameras are in the right order"
        )
    return PairDistances(edges=np.linspace(0, top, bins + 1), right=num_right, wrong=num_wrong, distance=distance)


def _labels(
    what: str, query: Tensor, gallery: Tensor, query_labels: Tensor | None, gallery_labels: Tensor | None
) -> list[Tensor]:
    """Both sides' labels on the features' device, if there is one for each image."""
    checked = []
    for features, labels in ((query, query_labels), (gallery, gallery_labels)):
        num_labels = 0 if labels is None else len(labels)
        if num_labels != len(features):
            raise ValueError(
                f"each of {len(features)} images needs its {what}, got {num_labels}"
                + ('; without cameras say same_camera="keep"' if what == "camera" else "")
            )
        checked.append(torch.as_tensor(labels, device=features.device))
    return checked
