"""`nas bench evaluate` and `nas bench rerank`: exact evaluation and re-ranking against the plain dense ways."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from threading import Event, Thread
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.metrics.rerank import Rerank
from nas.metrics.retrieval import evaluate_distances, evaluate_retrieval
from nas.training.machine import Machine
from search_spaces.ranges import Count, checked

Row = dict[str, float]
NOISE = 2.25
SAMPLE_SECONDS = 0.005


@checked
def evaluate(
    queries: Count = 3368,
    gallery: Count = 15913,
    dim: Count = 512,
    identities: Count = 750,
    repeats: Count = 3,
    compare: bool = False,
    machine: Machine = Machine(),
) -> dict[str, Row]:
    """Cosine distances, CMC, mAP and mINP of random clusters; `compare`: beside all distances, sorted and looped over.

    `compare` also times the ranking alone, with the distances given, and torchreid's Cython; without its module
    `rank_cy` on Python's path it is left out. `seconds`: median over `repeats`; `spread`: slowest less `fastest`;
    `processor_s`: likewise by the processor's clock, all threads together; `peak_mib`: most memory beyond what was used
    before; `ratio`: median of the ratio to ours in the same turn. The defaults are Market-1501's size. Raises
    ValueError for counts below 1.
    """
    device = machine.fabric().device
    data = _clusters(queries, gallery, dim, identities, device)
    ways = {"ours": lambda: evaluate_retrieval(*data).mAP}
    if not compare:
        return measured(ways, repeats, device)
    plain = {"whole sort": _sorted_whole} | _cython()
    whole = {name: partial(_densely, rank, data) for name, rank in plain.items()}
    far = _dense(data)
    alone = {"ours, distances given": lambda: evaluate_distances(far, *data[2:]).mAP}
    alone |= {f"{name}, distances given": partial(rank, far, data) for name, rank in plain.items()}
    return measured(ways | whole, repeats, device) | measured(alone, repeats, device)


@checked
def rerank(
    queries: Count = 3368,
    gallery: Count = 15913,
    dim: Count = 512,
    identities: Count = 750,
    repeats: Count = 1,
    compare: bool = False,
    reranking: Rerank = Rerank(),  # noqa: B008 (frozen)
    machine: Machine = Machine(),
) -> dict[str, Row]:
    """K-reciprocal re-ranking of random clusters; `compare`: beside dense matrices and a loop over all images."""
    data = _clusters(queries, gallery, dim, identities, machine.fabric().device)
    ways = {"ours": lambda: evaluate_retrieval(*data, rerank=reranking).mAP}
    if compare:
        ways["dense"] = lambda: _sorted_whole(_dense_reranked(data[0], data[1], reranking), data)
    return measured(ways, repeats, machine.fabric().device)


def _clusters(queries: int, gallery: int, dim: int, identities: int, device: torch.device) -> tuple[Tensor, ...]:
    """Features, identities and cameras of both sides, in the order `evaluate_retrieval` takes them.

    The noise is what gives a mAP of about 0.7 at Market-1501's size.
    """
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(identities, dim, generator=rng)
    ids = [torch.randint(identities, (num,), generator=rng) for num in (queries, gallery)]
    cameras = [torch.randint(6, (num,), generator=rng) for num in (queries, gallery)]
    features = [centres[of] + NOISE * torch.randn(len(of), dim, generator=rng) for of in ids]
    return tuple(part.to(device) for part in (*features, *ids, *cameras))


def _densely(rank: Callable[[Tensor, tuple[Tensor, ...]], float], data: tuple[Tensor, ...]) -> float:
    """What `rank` says of the whole matrix of distances."""
    return rank(_dense(data), data)


def _dense(data: tuple[Tensor, ...]) -> Tensor:
    return 1 - F.normalize(data[0]) @ F.normalize(data[1]).T


def _cython() -> dict[str, Callable[[Tensor, tuple[Tensor, ...]], float]]:
    """torchreid's compiled evaluation, if its module is on Python's path; it gives mAP from all distances `[Q, G]`."""
    try:
        module = import_module("rank_cy")
    except ModuleNotFoundError:
        return {}
    return {"Cython": lambda far, data: module.evaluate_cy(*(part.cpu().numpy() for part in (far, *data[2:])), 50)[1]}


def measured(ways: dict[str, Callable[[], float]], repeats: int, device: torch.device) -> dict[str, Row]:
    """A row for each way; the first of them is ours."""
    turns = [{name: Cost.of(run, device) for name, run in ways.items()} for _ in range(repeats)]
    ours, rows = next(iter(ways)), {}
    for name in ways:
        costs = [turn[name] for turn in turns]
        seconds = [cost.seconds for cost in costs]
        rows[name] = {
            "seconds": statistics.median(seconds),
            "fastest": min(seconds),
            "spread": max(seconds) - min(seconds),
            "processor_s": statistics.median(cost.processor for cost in costs),
            "peak_mib": max(cost.mib for cost in costs),
            "mAP": costs[0].found,
            "ratio": statistics.median(turn[name].seconds / turn[ours].seconds for turn in turns),
        }
    return rows


class Cost(NamedTuple):
    """What a call took."""

    seconds: float
    processor: float
    """Seconds of the processor's clock, all threads of this process together."""
    mib: float
    """At the peak: see `Peak`."""
    found: Any
    """What came out."""

    @classmethod
    def of(cls, run: Callable[[], Any], device: torch.device) -> Cost:
        with Peak(device) as peak:
            start, used = perf_counter(), process_time()
            found = run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds, used = perf_counter() - start, process_time() - used
        return cls(seconds, used, peak.mib, found)


def _sorted_whole(far: Tensor, data: tuple[Tensor, ...]) -> float:
    """mAP from all distances `[Q, G]` at once: every row is sorted, then walked through."""
    order = far.argsort(dim=1).cpu().numpy()
    query_ids, gallery_ids, query_cameras, gallery_cameras = (part.cpu().numpy() for part in data[2:])
    precisions = []
    for row, identity, camera in zip(order, query_ids, query_cameras, strict=True):
        same = gallery_ids[row] == identity
        ranks = np.flatnonzero(same[~(same & (gallery_cameras[row] == camera))])
        if len(ranks):
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
    return float(np.mean(precisions))


def _dense_reranked(query: Tensor, gallery: Tensor, how: Rerank) -> Tensor:
    """Re-ranked distances `[Q, G]` from matrices `[Q + G, Q + G]` and a loop over images, as public code does."""
    images = F.normalize(torch.cat([query, gallery])).cpu().numpy()
    far = 2 - 2 * images @ images.T
    far /= far.max(axis=1, keepdims=True)
    order = np.argsort(far, axis=1)
    weights = np.zeros_like(far)
    for i in range(len(images)):
        members = _dense_members(order, i, how.k1)
        weight = np.exp(-far[i, members])
        weights[i, members] = weight / weight.sum()
    weights = np.stack([weights[row[: how.k2]].mean(axis=0) for row in order])
    having = [np.flatnonzero(column) for column in weights.T]
    shared = np.zeros_like(far[: len(query)])
    for q in range(len(query)):
        for column in np.flatnonzero(weights[q]):
            of = having[column]
            shared[q, of] += np.minimum(weights[q, column], weights[of, column])
    mixed = how.lambda_value * far[: len(query)] + (1 - how.lambda_value) * (1 - shared / (2 - shared))
    return torch.from_numpy(mixed[:, len(query) :])


def _dense_members(order: np.ndarray, i: int, k1: int) -> np.ndarray:
    def mutual(image: int, k: int) -> np.ndarray:
        near = order[image, : k + 1]
        return near[(order[near, : k + 1] == image).any(axis=1)]

    members = mutual(i, k1)
    sets = [members]
    for candidate in members:
        narrow = mutual(candidate, round(k1 / 2))
        if 3 * len(np.intersect1d(narrow, members)) > 2 * len(narrow):
            sets.append(narrow)
    return np.unique(np.concatenate(sets))


@dataclass
class Peak:
    """The most memory, in MiB, that is used within a `with` beyond what was used before it: on CUDA as torch counts it,
    otherwise the resident memory of the process, looked at every few milliseconds."""

    device: torch.device
    mib: float = 0.0

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        else:
            self.process, self.done = psutil.Process(), Event()
            self.before = self.process.memory_info().rss
            self.watch = Thread(target=self._watch)
            self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.mib = (torch.cuda.max_memory_allocated(self.device) - self.before) / 2**20
        else:
            self.done.set()
            self.watch.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, (self.process.memory_info().rss - self.before) / 2**20)
            if self.done.wait(SAMPLE_SECONDS):
                return
