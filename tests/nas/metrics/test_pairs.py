"""Pairs and camera pairs against naive loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from nas.metrics.camera_pairs import camera_pairs
from nas.metrics.pairs import PairDistances, pair_distances
from nas.metrics.retrieval import evaluate_retrieval


def exact_data(seed, num_queries=23, num_gallery=61, num_ids=7):
    """Features of +-1 have a norm of exactly 4, so that all distances are exact."""
    rng = torch.Generator().manual_seed(seed)
    query, gallery = (torch.randint(2, (num, 16), generator=rng) * 2.0 - 1 for num in (num_queries, num_gallery))
    ids = (
        torch.randint(1, num_ids + 3, (num_queries,), generator=rng),
        torch.randint(-1, num_ids, (num_gallery,), generator=rng),
    )
    cameras = (torch.randint(3, (num,), generator=rng) for num in (num_queries, num_gallery))
    return query, gallery, *ids, *cameras


def naive_pairs(data, distance, same_camera):
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = (part.numpy() for part in data)
    right, wrong = [], []
    for q in range(len(query)):
        found = ([], [])
        for g in range(len(gallery)):
            same_id, same_view = query_ids[q] == gallery_ids[g], query_cameras[q] == gallery_cameras[g]
            if gallery_ids[g] == -1 or (same_id and same_view and same_camera == "remove"):
                continue
            euclidean = math.sqrt(((query[q] - gallery[g]) ** 2).sum())
            found[int(same_id)].append(1 - query[q] @ gallery[g] / 16 if distance == "cosine" else euclidean)
        if found[1]:
            right += found[1]
            wrong += found[0]
    return right, wrong


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("same_camera", ["remove", "keep"])
def test_counts_are_those_of_the_naive_loop(seed, distance, same_camera):
    data = exact_data(seed)
    found = pair_distances(*data, distance=distance, same_camera=same_camera, bins=64, block=1 + 7 * seed)
    for counts, naive in zip((found.right, found.wrong), naive_pairs(data, distance, same_camera), strict=True):
        expected = np.zeros(64, dtype=int)
        for value in naive:
            expected[min(63, int(value / (2.0 if distance == "cosine" else 8.0) * 64))] += 1
        assert counts.tolist() == expected.tolist()
    assert found.edges[0] == 0 and found.edges[-1] == (2.0 if distance == "cosine" else 8.0)


def test_numbers_are_those_of_the_distances_themselves():
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(0.6, 0.15, 4000).clip(0, 2), rng.normal(1.0, 0.1, 9000).clip(0, 2)
    edges = np.linspace(0, 2, 2001)
    found = PairDistances(
        edges=edges, right=np.histogram(right, edges)[0], wrong=np.histogram(wrong, edges)[0], distance="cosine"
    )
    let_in, recognised, _ = roc_curve([1] * len(right) + [0] * len(wrong), -np.concatenate([right, wrong]))
    assert found.equal_error_rate == pytest.approx(let_in[np.argmin(abs(let_in - 1 + recognised))], abs=2e-3)
    expected = (wrong.mean() - right.mean()) / np.sqrt((right.var() + wrong.var()) / 2)
    assert found.d_prime == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("right", "wrong", "rate"),
    [
        ([4, 0, 0], [0, 0, 2], 0.0),
        ([0, 0, 4], [2, 0, 0], 1.0),
        ([3, 3, 3], [1, 1, 1], 0.5),
        ([0, 5, 0], [0, 1, 0], 0.5),
        ([3, 1, 0], [0, 1, 3], 0.125),
    ],
)
def test_equal_error_rate_of_simple_cases(right, wrong, rate):
    found = PairDistances(edges=np.arange(4.0), right=np.array(right), wrong=np.array(wrong), distance="euclidean")
    assert found.equal_error_rate == pytest.approx(rate)


def test_features_that_are_all_one_have_no_d_prime():
    data = exact_data(0)
    found = pair_distances(torch.ones(23, 4), torch.ones(61, 4), *data[2:], distance="euclidean")
    assert math.isnan(found.d_prime) and found.equal_error_rate == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({4: None}, 'its camera, got 0; without cameras say same_camera="keep"'),
        ({3: torch.ones(5)}, "each of 61 images needs its identity, got 5"),
        ({2: torch.full((23,), 77)}, "right and wrong pairs, got 0 and 0"),
        ({0: torch.full((23, 16), math.nan)}, "finite"),
    ],
)
def test_pairs_that_cannot_be_counted_are_named(change, message):
    data = [change.get(i, part) for i, part in enumerate(exact_data(0))]
    with pytest.raises(ValueError, match=message):
        pair_distances(*data)


@pytest.mark.parametrize("same_camera", ["remove", "keep"])
@pytest.mark.parametrize("ap", ["plain", "trapezoid"])
def test_camera_pairs_are_those_of_evaluating_each_alone(same_camera, ap):
    data = exact_data(3, num_ids=12)
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = data
    gallery_cameras[gallery_cameras == 2] = 9
    found = camera_pairs(*data, ap=ap, same_camera=same_camera)
    assert found.query_cameras.tolist() == [0, 1, 2] and found.gallery_cameras.tolist() == [0, 1, 9]
    records = {(row["query_camera"], row["gallery_camera"]): row for row in found.records()}
    for i in (0, 1, 2):
        for j in (0, 1, 9):
            mine, seen = query_cameras == i, gallery_cameras == j
            try:
                alone = evaluate_retrieval(
                    query[mine],
                    gallery[seen],
                    query_ids[mine],
                    gallery_ids[seen],
                    query_cameras[mine],
                    gallery_cameras[seen],
                    ap=ap,
                    same_camera=same_camera,
                )
            except ValueError:
                assert (i, j) not in records
                continue
            row = records[i, j]
            assert row["num_queries"] == alone.num_queries - alone.num_skipped
            assert (row["mAP"], row["rank1"]) == (pytest.approx(alone.mAP), pytest.approx(alone.rank(1)))
    assert ((0, 0) in records) == (same_camera == "keep")
    assert np.isnan(found.mAP).sum() == np.isnan(found.rank1).sum() == 9 - len(records)


def test_camera_pairs_need_cameras():
    with pytest.raises(ValueError, match="needs the cameras"):
        camera_pairs(*exact_data(0)[:4], None, None)


def test_every_identity_below_0_is_junk():
    query, gallery, query_ids, gallery_ids, *cameras = exact_data(1)
    query_ids[:5], cameras[1][gallery_ids == -1] = -1, 7  # a camera that sees nothing but junk
    ids = (query_ids, gallery_ids)
    many = [each.where(each != -1, -1 - torch.arange(len(each)) % 2) for each in ids]
    found, expected = (pair_distances(query, gallery, *each, *cameras) for each in (many, ids))
    assert found.right.tolist() == expected.right.tolist() and found.wrong.tolist() == expected.wrong.tolist()
    assert (
        camera_pairs(query, gallery, *many, *cameras).records()
        == camera_pairs(query, gallery, *ids, *cameras).records()
    )
