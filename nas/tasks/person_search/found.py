"""What a network finds in the frames of a test split."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from nas.data.scene_cache import SceneCache
from nas.data.scenes import SearchQueries
from nas.metrics.detection import Detection, evaluate_detection
from nas.metrics.person_search import Boxes, PersonSearch, evaluate_person_search
from nas.system.weights import save_tensors
from nas.tasks.person_search.feed import scenes_of
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.stage import Stage
from students.scenes import Detections, SceneAnswer


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The boxes that a network detected in all frames, in pixels of the frames as they are stored; and its features
    of the queries' own boxes, `[Q, D]`, in their order."""

    frames: np.ndarray
    """`[N]` int64."""
    boxes: np.ndarray
    """`[N, 4]` float64: x1, y1, x2, y2."""
    scores: np.ndarray
    """`[N]`."""
    features: Tensor
    """`[N, D]`, each of length 1."""
    queries: Tensor

    def save(self, path: Path) -> Path:
        """Writes safetensors."""
        arrays = {"frames": self.frames, "boxes": self.boxes, "scores": self.scores}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors |= {"features": self.features, "queries": self.queries}
        return save_tensors(path, tensors, {})

    def search(
        self, cache: SceneCache, queries: SearchQueries, how: SearchEvaluation, num_best: int = 0
    ) -> PersonSearch | None:
        """How well the queries are found, and of `num_best` frames the nearest box, as a place among all that is here;
        see `evaluate_person_search` for what raises ValueError. None: the network tells nobody apart."""
        if not self.features.shape[1]:
            return None
        true, counted = cache.split.all_boxes, np.flatnonzero(self.scores >= how.min_score)
        result = evaluate_person_search(
            Boxes(frames=queries.frames, boxes=queries.boxes, ids=queries.ids, features=self.queries),
            Boxes(
                frames=self.frames[counted],
                boxes=self.boxes[counted],
                features=self.features[torch.from_numpy(counted)],
            ),
            Boxes(frames=true.frames, boxes=true.corners, ids=true.ids),
            queries.galleries,
            cache.split.cameras if how.same_camera == "remove" else None,
            num_best=num_best,
        )
        return replace(result, best=np.append(counted, -1)[result.best])

    def similarities(self, query: int, places: np.ndarray) -> list[float]:
        """Those of the boxes at `places` to a query."""
        similar: list[float] = (self.features[torch.from_numpy(places)] @ self.queries[query]).tolist()
        return similar

    def detection(self, cache: SceneCache, how: SearchEvaluation) -> Detection:
        """How well the persons are detected, with or without identity."""
        true = cache.split.all_boxes
        return evaluate_detection(
            self.frames,
            self.boxes,
            self.scores,
            true.frames,
            true.corners,
            min_iou=how.min_iou,
            min_score=how.min_score,
        )


def find(
    net: nn.Module, cache: SceneCache, queries: SearchQueries, stage: Stage, how: SearchEvaluation, title: str = ""
) -> Found:
    """What `net`, on the stage's device, finds in every frame, and its features of the queries. `title`: of a bar that
    is shown on a terminal."""
    asked = {frame: np.flatnonzero(queries.frames == frame) for frame in np.unique(queries.frames).tolist()}
    groups = list(same_shape(cache, np.arange(len(cache)), how.batch_size))
    found: dict[int, Detections] = {}
    described: dict[int, Tensor] = {}
    training = net.training
    net.eval()
    shown = track(groups, title, console=Console(stderr=True), disable=not (title and sys.stderr.isatty()))
    with torch.inference_mode(), stage.autocast():
        for group in shown:
            own = [asked.get(frame, np.arange(0)) for frame in group]
            boxes_of_queries = [queries.boxes[of] * cache.ratio(frame) for frame, of in zip(group, own, strict=True)]
            scenes = scenes_of([cache.get(frame) for frame in group], boxes_of_queries, own, device=stage.fabric.device)
            said: SceneAnswer = net(scenes)
            found |= dict(zip(group, said.detections, strict=True))
            for places, answers in zip(own, said.described, strict=True):
                described |= dict(zip(places.tolist(), answers.float(), strict=True))
    net.train(training)
    persons = [found[frame] for frame in range(len(cache))]
    return Found(
        frames=np.repeat(np.arange(len(cache)), [len(each.scores) for each in persons]),
        boxes=np.concatenate(
            [each.boxes.double().cpu().numpy() / cache.ratio(frame) for frame, each in enumerate(persons)]
        ),
        scores=torch.cat([each.scores.float() for each in persons]).cpu().numpy(),
        features=torch.cat([each.features.float() for each in persons]),
        queries=torch.stack([described[query] for query in range(len(queries))]),
    )


def same_shape(cache: SceneCache, frames: np.ndarray, most: int) -> Iterator[list[int]]:
    """The `frames`, those of one scaled size together, at most so many: nothing that a network sees is padding which
    its frame alone would not have."""
    sizes, kinds = np.unique(cache.scaled[frames], axis=0, return_inverse=True)
    for kind in range(len(sizes)):
        alike = frames[kinds.ravel() == kind].tolist()
        yield from (alike[start : start + most] for start in range(0, len(alike), most))
