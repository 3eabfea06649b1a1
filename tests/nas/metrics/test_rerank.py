"""Re-ranking against dense loops written from the paper, with ties, duplicates and fewer images than neighbours."""

import numpy as np
import pytest
import torch

from nas.metrics import rerank as rerank_module
from nas.metrics.rerank import Rerank, reranked_distances
from nas.metrics.retrieval import evaluate_retrieval, ranked_gallery


def naive_rerank(query, gallery, how, distance):
    images = np.concatenate([query, gallery]).astype(float)
    if distance == "cosine":
        images /= np.linalg.norm(images, axis=1, keepdims=True)
    far = ((images[:, None] - images[None]) ** 2).sum(axis=2)
    far /= np.where(far.max(axis=1) > 0, far.max(axis=1), 1)[:, None]
    order = np.argsort(far, axis=1, kind="stable")
    weights = np.zeros_like(far)
    for i in range(len(images)):
        members = naive_expanded(order, i, how.k1)
        if members:
            weights[i, members] = np.exp(-far[i, members]) / np.exp(-far[i, members]).sum()
    weights = np.stack([weights[row[: how.k2]].mean(axis=0) for row in order])
    result = np.zeros((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            shared = np.minimum(weights[q], weights[len(query) + g]).sum()
            jaccard = 1 - shared / (2 - shared)
            result[q, g] = how.lambda_value * far[q, len(query) + g] + (1 - how.lambda_value) * jaccard
    return result


def naive_expanded(order, i, k1):
    members = naive_mutual(order, i, k1)
    expanded = set(members)
    for j in members:
        narrow = naive_mutual(order, j, int(np.around(k1 / 2)))
        if len(narrow & members) > 2 / 3 * len(narrow):
            expanded |= narrow
    return sorted(expanded)


def naive_mutual(order, i, k):
    return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}


def tied_features(seed, num_queries, num_gallery, dim=16):
    """Features of +-1: every distance is computed exactly, and many are equal."""
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(2, (num, dim), generator=rng) * 2.0 - 1 for num in (num_queries, num_gallery))


def clustered_features(seed, num_queries, num_gallery, dim=24, num_ids=6):
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_ids, dim, generator=rng)
    return tuple(
        centres[torch.randint(num_ids, (num,), generator=rng)] + 0.8 * torch.randn(num, dim, generator=rng)
        for num in (num_queries, num_gallery)
    )


def reranked(query, gallery, how, distance="euclidean", block=7):
    found = torch.full((len(query), len(gallery)), torch.nan)
    for rows, far in reranked_distances(query, gallery, how, distance, block):
        found[rows] = far
    return found.numpy()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("features", [tied_features, clustered_features])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "how",
    [Rerank(), Rerank(k1=5, k2=3, lambda_value=0.1), Rerank(k1=1, k2=2), Rerank(k1=7, k2=1), Rerank(k1=3, k2=9)],
    ids=str,
)
def test_reranking_is_the_naive_loop(seed, features, distance, how):
    query, gallery = features(seed, 9, 52)
    expected = naive_rerank(query.numpy(), gallery.numpy(), how, distance)
    np.testing.assert_allclose(reranked(query, gallery, how, distance), expected, atol=1e-5)


@pytest.mark.parametrize("lambda_value", [0.0, 1.0])
def test_lambda_weighs_the_two_distances(lambda_value):
    query, gallery = clustered_features(0, 5, 40)
    how = Rerank(k1=6, lambda_value=lambda_value)
    expected = naive_rerank(query.numpy(), gallery.numpy(), how, "euclidean")
    np.testing.assert_allclose(reranked(query, gallery, how), expected, atol=1e-5)


@pytest.mark.parametrize(("num_queries", "num_gallery"), [(1, 1), (1, 12), (12, 1), (3, 17)])
@pytest.mark.parametrize("how", [Rerank(), Rerank(k1=50, k2=40), Rerank(k1=1, k2=1)], ids=str)
def test_fewer_images_than_neighbours(num_queries, num_gallery, how):
    query, gallery = tied_features(1, num_queries, num_gallery)
    expected = naive_rerank(query.numpy(), gallery.numpy(), how, "cosine")
    np.testing.assert_allclose(reranked(query, gallery, how, "cosine"), expected, atol=1e-5)


@pytest.mark.parametrize("copies", [2, 7, 30])
def test_more_copies_of_an_image_than_neighbours(copies):
    query, gallery = tied_features(2, 3, 6)
    gallery = gallery.repeat(copies, 1)
    gallery[: len(query)] = query
    how = Rerank(k1=5, k2=3)
    expected = naive_rerank(query.numpy(), gallery.numpy(), how, "euclidean")
    np.testing.assert_allclose(reranked(query, gallery, how), expected, atol=1e-5)


def test_images_that_are_all_alike_are_at_no_distance():
    features = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).expand(8, 64)
    for distance in ("cosine", "euclidean"):
        np.testing.assert_allclose(reranked(features[:2], features[2:], Rerank(), distance), 0, atol=1e-5)


@pytest.mark.parametrize("block", [1, 4, 1000])
@pytest.mark.parametrize("terms", [1, 50])
def test_blocks_do_not_change_the_result(monkeypatch, block, terms):
    query, gallery = clustered_features(0, 11, 60)
    whole = reranked(query, gallery, Rerank(k1=8))
    monkeypatch.setattr(rerank_module, "TERMS", terms)
    monkeypatch.setattr(rerank_module, "PAIRS", 3)
    np.testing.assert_allclose(reranked(query, gallery, Rerank(k1=8), block=block), whole, atol=1e-6)


def retrieval_data():
    query, gallery = clustered_features(3, 12, 70)
    rng = torch.Generator().manual_seed(3)
    query_ids = torch.randint(1, 5, (12,), generator=rng)
    gallery_ids = torch.randint(-1, 5, (70,), generator=rng)
    cameras = torch.randint(3, (12,), generator=rng), torch.randint(3, (70,), generator=rng)
    return query, gallery, query_ids, gallery_ids, *cameras


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_rankings_follow_the_reranked_distances_of_the_whole_gallery(distance):
    data, how = retrieval_data(), Rerank(k1=8, k2=4)
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = (part.numpy() for part in data)
    found = evaluate_retrieval(*data, distance=distance, rerank=how, block=5)
    ranked = ranked_gallery(*data, k=70, distance=distance, rerank=how, block=5).numpy()
    for q, far in enumerate(naive_rerank(query, gallery, how, distance)):
        same_id = gallery_ids == query_ids[q]
        junk = (gallery_ids == -1) | same_id & (gallery_cameras == query_cameras[q])
        order = [g for g in np.argsort(far) if not junk[g]]
        assert ranked[q].tolist() == order + [-1] * junk.sum()
        ranks = np.flatnonzero(same_id[order])
        precision = np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)) if len(ranks) else np.nan
        np.testing.assert_allclose(found.average_precision[q], precision)
    assert found.summary()["rerank"] == {"k1": 8, "k2": 4, "lambda_value": 0.3}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_reranking_on_a_gpu_is_reranking_on_a_cpu():
    query, gallery = tied_features(0, 20, 90)
    on_gpu = reranked(query.cuda(), gallery.cuda(), Rerank(k1=8))
    np.testing.assert_allclose(on_gpu, reranked(query, gallery, Rerank(k1=8)), atol=1e-5)
