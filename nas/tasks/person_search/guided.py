"""What a query-guided network finds: for each query something else, so that each is compared with every frame of its
gallery."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from nas.data.scene_cache import SceneCache
from nas.data.scenes import SearchQueries
from nas.metrics.person_search import Boxes, PersonSearch, evaluate_each_query
from nas.report import numbers
from nas.system.config import fingerprint
from nas.system.files import blamed_on
from nas.system.progress import clock, tell
from nas.system.weights import save_state, save_tensors
from nas.tasks.person_search.deployed import Deployed
from nas.tasks.person_search.feed import scenes_of, usual_size
from nas.tasks.person_search.found import Found, find, same_shape
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.stage import Stage
from search_spaces.cost.counting import cost
from students.query_guided import QueryGuidedNet
from students.scenes import UNKNOWN, QueryFrames, SceneAnswer
from teachers.person_search import SearchTeachersNet


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundByQuery:
    """The boxes that a network detected while it looked for each query, in pixels of the frames as they are stored;
    those of one query after those of the other."""

    queries: np.ndarray
    """`[N]` int64, ascending: the query that a box was detected for."""
    frames: np.ndarray
    """`[N]` int64."""
    boxes: np.ndarray
    """`[N, 4]` float64: x1, y1, x2, y2."""
    scores: np.ndarray
    """`[N]`: how likely it is a person."""
    similar: np.ndarray
    """`[N]`: how likely it is the query's person."""

    def save(self, path: Path) -> Path:
        """Writes safetensors."""
        return save_tensors(path, {name: torch.from_numpy(array) for name, array in vars(self).items()}, {})

    def search(
        self, cache: SceneCache, queries: SearchQueries, how: SearchEvaluation, num_best: int = 0
    ) -> PersonSearch:
        """As `Found.search`."""
        true, counted = cache.split.all_boxes, np.flatnonzero(self.scores >= how.min_score)
        ends = np.searchsorted(self.queries[counted], np.arange(1, len(queries)))
        own = np.split(counted, ends)
        result = evaluate_each_query(
            Boxes(frames=queries.frames, boxes=queries.boxes, ids=queries.ids),
            [Boxes(frames=self.frames[places], boxes=self.boxes[places]) for places in own],
            [self.similar[places] for places in own],
            Boxes(frames=true.frames, boxes=true.corners, ids=true.ids),
            queries.galleries,
            cache.split.cameras if how.same_camera == "remove" else None,
            num_best=num_best,
        )
        best = [np.append(places, -1)[found] for places, found in zip(own, result.best, strict=True)]
        return replace(result, best=np.stack(best))

    def similarities(self, query: int, places: np.ndarray) -> list[float]:
        """Those of the boxes at `places`, which were detected for this query."""
        similar: list[float] = self.similar[places].tolist()
        return similar

    def detection(self, cache: SceneCache, how: SearchEvaluation) -> None:
        """None: what is detected in a frame depends on the query."""


def find_by(
    net: nn.Module, cache: SceneCache, queries: SearchQueries, stage: Stage, how: SearchEvaluation, role: str = ""
) -> Found | FoundByQuery:
    """What `net`, on the stage's device, finds. role: the part it plays, for what is shown while it searches, and in
    the stage's checkpoint; without one nothing is shown and kept."""
    finds = cast(nn.Module, net.detector if isinstance(net, SearchTeachersNet) else net)
    if any(isinstance(part, QueryGuidedNet) for part in finds.modules()):
        return find_by_query(net, cache, queries, stage, how, role)
    return find(net, cache, queries, stage, how, f"{role}: frames" if role else "")


def find_by_query(
    net: nn.Module, cache: SceneCache, queries: SearchQueries, stage: Stage, how: SearchEvaluation, role: str = ""
) -> FoundByQuery:
    """The same of a query-guided network: a forward pass for each query and frame of its gallery.

    How many these are is said before. Every few minutes (`Machine.checkpoint_minutes`) the stage's checkpoint is
    written, from which the same search goes on. Raises ValueError where no query has a frame in its gallery.
    """
    steps = list(_steps(cache, queries, how))
    if not steps:
        raise ValueError(
            "no query has a frame to be looked for in: check the galleries, or keep frames of the query's own camera "
            "(--evaluation.same-camera keep)"
        )
    kept = _Kept(stage, role, _key_of(net, cache, queries, stage, how)) if role else None
    found, start = (kept.found, kept.num_steps) if kept else ([], 0)
    progress = _Progress(net, cache, steps, start, stage, role)
    training, device = net.training, stage.fabric.device
    asked: tuple[int, QueryFrames] | None = None
    net.eval()
    with torch.inference_mode(), stage.autocast():
        for number, (query, frames) in progress.shown():
            if asked is None or asked[0] != query:
                asked = query, _query_frames(cache, queries, query, device)
            pixels, nothing = [cache.get(frame) for frame in frames], [np.empty((0, 4))] * len(frames)
            scenes = scenes_of(pixels, nothing, [each[:, 0] for each in nothing], device=device)
            said: SceneAnswer = net(scenes._replace(query=_for_frames(asked[1], len(frames))))
            found.append(_columns(query, frames, said, cache))
            if kept and kept.is_due:
                found = [kept.save(number + 1, found)]
                progress.tell(number + 1)
    net.train(training)
    whole = _together(found)
    if kept and start < len(steps):
        kept.save(len(steps), found)
    return FoundByQuery(**{name: tensor.numpy() for name, tensor in whole.items()})


def _steps(cache: SceneCache, queries: SearchQueries, how: SearchEvaluation) -> Iterator[tuple[int, list[int]]]:
    """Each query with some frames of its gallery, which share a forward pass."""
    cameras = cache.split.cameras if how.same_camera == "remove" else None
    for query in range(len(queries)):
        frames = queries.gallery(query, len(cache))
        if cameras is not None:
            frames = frames[cameras[frames] != cameras[queries.frames[query]]]
        yield from ((query, group) for group in same_shape(cache, frames, how.batch_size))


def _query_frames(cache: SceneCache, queries: SearchQueries, query: int, device: torch.device) -> QueryFrames:
    frame = int(queries.frames[query])
    box = queries.boxes[query][None] * cache.ratio(frame)
    scenes = scenes_of([cache.get(frame)], [box], [np.array([UNKNOWN])], device=device)
    return QueryFrames(scenes.tensors, scenes.boxes[0], scenes.labels[0])


def _for_frames(query: QueryFrames, number: int) -> QueryFrames:
    """One query beside each of so many frames."""
    return QueryFrames(*(part.expand(number, *part.shape[1:]) for part in query))


def _columns(query: int, frames: list[int], said: SceneAnswer, cache: SceneCache) -> dict[str, Tensor]:
    """What was found in frames, by the names of the fields of `FoundByQuery`."""
    numbers_found = torch.tensor([len(each.scores) for each in said.detections])
    of_boxes = torch.tensor(frames).repeat_interleave(numbers_found)
    ratios = torch.from_numpy(np.stack([cache.ratio(frame) for frame in frames])).repeat_interleave(numbers_found, 0)
    return {
        "queries": torch.full_like(of_boxes, query),
        "frames": of_boxes,
        "boxes": torch.cat([each.boxes for each in said.detections]).double().cpu() / ratios,
        "scores": torch.cat([each.scores for each in said.detections]).float().cpu(),
        "similar": torch.cat(said.similarities).float().cpu(),
    }


def _together(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


class _Kept:
    """What one network has found so far, in the stage's checkpoint.

    key: of all that decides it; what was found by another one is left aside.
    """

    def __init__(self, stage: Stage, role: str, key: str) -> None:
        self.stage, self.role, self.key = stage, role, key
        self.num_steps, self.found = 0, list[dict[str, Tensor]]()
        self._saved = time.monotonic()
        held = self._parts.get(role)
        with blamed_on(stage.checkpoint):
            if held and held["key"] == key:
                self.num_steps, self.found = held["num_steps"], [held["found"]]
            elif held:
                tell(f"{role}: what {stage.checkpoint} keeps is of another search, which begins anew", stage.folder)

    @property
    def _parts(self) -> Mapping[str, dict]:
        return self.stage.state["parts"] if self.stage.state else {}

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved > 60 * self.stage.machine.checkpoint_minutes

    def save(self, num_steps: int, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Keeps what the first steps have `found`, which it gives back in one piece."""
        whole = _together(found)
        own = {"key": self.key, "num_steps": num_steps, "found": whole}
        parts = {**self._parts, self.role: own}
        self.stage.state = {"fingerprint": self.stage.fingerprint, "seconds": 0.0, "parts": parts}
        save_state(self.stage.checkpoint, self.stage.state)
        self._saved = time.monotonic()
        return whole


def _key_of(net: nn.Module, cache: SceneCache, queries: SearchQueries, stage: Stage, how: SearchEvaluation) -> str:
    """Stands for weights, frames (by name and size), queries, galleries and all that changes a number's last bits."""
    hashed = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        hashed.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    for array in (cache.sizes, cache.scaled, queries.frames, queries.boxes, *(queries.galleries or ())):
        hashed.update(str(array.shape).encode() + array.tobytes())
    names = [cache.split.images.name(frame) for frame in range(len(cache))]
    cameras = None if cache.split.cameras is None else cache.split.cameras.tolist()
    computed = (str(stage.fabric.device.type), stage.machine.precision, stage.machine.threads, how.batch_size)
    return fingerprint(repr(net.space), hashed.hexdigest(), names, cameras, how.same_camera, computed)


class _Progress:
    """Says what a search costs before it begins, and then how far it is."""

    def __init__(
        self, net: nn.Module, cache: SceneCache, steps: list[tuple[int, list[int]]], start: int, stage: Stage, role: str
    ) -> None:
        self.steps, self.start, self.stage, self.role = steps, start, stage, role
        self._pairs = np.cumsum([0, *(len(frames) for _, frames in steps)])
        if role:
            macs = cost(Deployed(net), *usual_size(cache)).multiply_adds
            begun = f", {self._pairs[start]:,} of them done" if start else ""
            pairs = f"{self._pairs[-1]:,} pairs of a query and a frame{begun}"
            tell(f"{role}: {pairs}, {numbers.multiply_adds(macs)} MACs each", stage.folder)
        self._since = time.monotonic()

    def shown(self) -> Iterator[tuple[int, tuple[int, list[int]]]]:
        """The steps that are left, with their numbers, behind a bar on a terminal."""
        yield from track(
            enumerate(self.steps[self.start :], start=self.start),
            f"{self.role}: queries and frames",
            total=len(self.steps) - self.start,
            console=Console(stderr=True),
            disable=not (self.role and sys.stderr.isatty()),
        )

    def tell(self, num_steps: int) -> None:
        """A line of how many pairs are done and how long the others take at the speed so far."""
        done = self._pairs[num_steps] - self._pairs[self.start]
        left = (self._pairs[-1] - self._pairs[num_steps]) * (time.monotonic() - self._since) / done
        line = f"{self.role}: {self._pairs[num_steps]:,} of {self._pairs[-1]:,} pairs, {clock(left)} left"
        tell(line, self.stage.folder, shown=not sys.stderr.isatty())
