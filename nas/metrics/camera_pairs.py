"""Retrieval from one camera to another: which pairs of viewpoints are hard."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.metrics.distance import Distance
from nas.metrics.retrieval import AveragePrecision, SameCamera, evaluate_retrieval, is_junk


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraPairs:
    """For each query camera [C] and gallery camera [K]: the number of queries that have a match there `[C, K]`, and
    their mAP and rank-1 (nan without any)."""

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    num_queries: np.ndarray
    mAP: np.ndarray
    rank1: np.ndarray

    def records(self) -> list[dict[str, Any]]:
        """The pairs that have queries, as plain data."""
        return [
            {
                "query_camera": int(self.query_cameras[i]),
                "gallery_camera": int(self.gallery_cameras[j]),
                "num_queries": int(self.num_queries[i, j]),
                "mAP": float(self.mAP[i, j]),
                "rank1": float(self.rank1[i, j]),
            }
            for i, j in np.argwhere(self.num_queries).tolist()
        ]


def camera_pairs(
    query: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None,
    gallery_cameras: Tensor | None,
    *,
    distance: Distance = "cosine",
    ap: AveragePrecision = "plain",
    same_camera: SameCamera = "remove",
) -> CameraPairs:
    """Ranks, for each gallery camera, its images alone, and averages over the queries of each camera that match there.

    Raises ValueError without cameras, and for what `evaluate_retrieval` refuses.
    """
    if query_cameras is None or gallery_cameras is None:
        raise ValueError("a table of camera pairs needs the cameras of queries and gallery; this data set has none")
    query_ids, gallery_ids, query_cameras, gallery_cameras = (
        torch.as_tensor(labels, device=query.device)
        for labels in (query_ids, gallery_ids, query_cameras, gallery_cameras)
    )
    rows, row = np.unique(query_cameras.cpu().numpy(), return_inverse=True)
    columns = np.unique(gallery_cameras.cpu().numpy())
    num, mean_precision, rank1 = np.zeros((3, len(rows), len(columns)))
    for j, camera in enumerate(columns.tolist()):
        seen = gallery_cameras == camera
        matched = torch.isin(query_ids, gallery_ids[seen]) & ~is_junk(query_ids)
        if same_camera == "remove":
            matched &= query_cameras != camera
        if not matched.any():
            continue
        found = evaluate_retrieval(
            query[matched],
            gallery[seen],
            query_ids[matched],
            gallery_ids[seen],
            query_cameras[matched],
            gallery_cameras[seen],
            distance=distance,
            ap=ap,
            same_camera=same_camera,
        )
        at = row[matched.cpu().numpy()]
        num[:, j] = np.bincount(at, minlength=len(rows))
        mean_precision[:, j] = np.bincount(at, weights=found.average_precision, minlength=len(rows))
        rank1[:, j] = np.bincount(at, weights=found.first_match_rank == 1, minlength=len(rows))
    some = np.where(num, num, np.nan)
    return CameraPairs(
        query_cameras=rows,
        gallery_cameras=columns,
        num_queries=num.astype(np.int64),
        mAP=mean_precision / some,
        rank1=rank1 / some,
    )
