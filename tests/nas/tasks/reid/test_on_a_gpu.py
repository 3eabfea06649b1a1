"""Features, evaluation and re-ranking on a pretended GPU: nothing is left on the CPU, and the numbers are the CPU's."""

from concurrent.futures import Future
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nas.data.cache import CachePart, ImageCache
from nas.data.sets.pedestrians import Pedestrians
from nas.metrics.camera_pairs import camera_pairs
from nas.metrics.pairs import pair_distances
from nas.metrics.rerank import Rerank
from nas.metrics.retrieval import evaluate_retrieval, ranked_gallery
from nas.metrics.verification import verification
from nas.tasks.reid.features import Features, features_of
from nas.tasks.reid.settings import Evaluation
from search_spaces.resnet import ResNet
from students.reid import ReID
from tests.pretend import CUDA, PretendedGPU, There, there

QUERIES, GALLERY, IDS = 40, 300, 20


def clusters() -> tuple[torch.Tensor, ...]:
    """Features, identities and cameras of queries and gallery, with junk and ties."""
    rng = torch.Generator().manual_seed(0)
    ids = [torch.randint(-1 if size == GALLERY else 0, IDS, (size,), generator=rng) for size in (QUERIES, GALLERY)]
    centres = torch.randn(IDS, 8, generator=rng)
    features = [centres[each.clamp_min(0)] + torch.randn(len(each), 8, generator=rng) for each in ids]
    features[1][-5:] = features[1][:5]
    return *features, *ids, *(torch.randint(3, (len(each),), generator=rng) for each in ids)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("rerank", [None, Rerank(k1=8, k2=3)], ids=["plain", "re-ranked"])
def test_evaluation_is_that_of_the_cpu(distance, rerank):
    data, how = clusters(), {"distance": distance, "rerank": rerank, "num_nearest": 4, "block": 16}
    expected = evaluate_retrieval(*data, **how)
    with PretendedGPU() as gpu:
        found = evaluate_retrieval(*map(There, data), **how)
    assert found.summary() == expected.summary()
    assert np.array_equal(found.first_match_rank, expected.first_match_rank)
    assert np.array_equal(found.nearest, expected.nearest)
    assert gpu.num_sent == 0


@pytest.mark.parametrize("rerank", [None, Rerank(k1=8, k2=3)], ids=["plain", "re-ranked"])
def test_rankings_are_those_of_the_cpu(rerank):
    data = clusters()
    with PretendedGPU():
        found = ranked_gallery(*map(There, data), rerank=rerank)
    assert torch.equal(found.inner, ranked_gallery(*data, rerank=rerank))


def test_verification_is_that_of_the_cpu():
    data = clusters()
    with PretendedGPU():
        found = pair_distances(*map(There, data), bins=50)
    expected = pair_distances(*data, bins=50)
    assert verification(found).summary() == verification(expected).summary()


def test_pairs_of_cameras_are_those_of_the_cpu():
    data = clusters()
    with PretendedGPU():
        found = camera_pairs(*map(There, data))
    expected = camera_pairs(*data)
    for name, value in vars(expected).items():
        assert np.array_equal(getattr(found, name), value, equal_nan=True), name


def test_other_partitions_stay_on_the_gpu():
    query, gallery, *labels = clusters()
    names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
    numbers = dict(zip(names, labels, strict=True))
    part, how = (np.arange(60, 90), np.arange(30, 340)), Evaluation()
    expected = Features(query=query, gallery=gallery, **numbers).partition(*part).evaluate(how)
    with PretendedGPU():
        found = Features(query=There(query), gallery=There(gallery), **numbers).partition(*part)
        assert found.query.device == CUDA
        assert found.evaluate(how).summary() == expected.summary()


class AtOnce:
    """In the place of a thread, which does not pretend."""

    def __init__(self, max_workers: int) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *error): ...

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("resident", [False, True], ids=["sent", "resident"])
def test_features_are_those_of_the_cpu(monkeypatch, flip, resident):
    free = 10**9 if resident else 0
    monkeypatch.setattr("nas.tasks.reid.features.ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    source = Pedestrians(num_train_ids=3, num_test_ids=1, images_per_id=4, height=32, width=16)
    cache, how = ImageCache(source.load().train, 32, 16), Evaluation(batch_size=5, flip=flip)
    part, net = CachePart(cache, np.arange(10, 1, -1)), ReID(backbone=ResNet(width=1 / 16), num_ids=3).student()
    expected = features_of(net, part, stage_on(torch.device("cpu")), how, "")
    with PretendedGPU() as gpu:
        found = features_of(there(net), part, stage_on(CUDA), how, "")
    torch.testing.assert_close(found.inner, expected)
    assert gpu.num_waits == 0


def stage_on(device: torch.device) -> SimpleNamespace:
    return SimpleNamespace(fabric=SimpleNamespace(device=device), autocast=nullcontext)


def test_the_pretence_refuses_tensors_of_the_cpu():
    with PretendedGPU() as gpu:
        x = torch.zeros(3, device=CUDA)
        with pytest.raises(RuntimeError, match="lies on the CPU"):
            x + torch.ones(3)
        assert (x.device, gpu.num_waits, gpu.num_sent) == (CUDA, 0, 0)
        assert x.sum().item() == 0.0 and torch.ones(3).to(CUDA).cpu().tolist() == [1.0, 1.0, 1.0]
    assert (gpu.num_waits, gpu.num_sent) == (2, 1)
