"""Retrieval against a loop over queries written from the protocol, with ties, junk, distractors and lost queries."""

import json
import math

import numpy as np
import pytest
import torch

from nas.metrics import distance as distance_module
from nas.metrics.rerank import Rerank
from nas.metrics.retrieval import evaluate_distances, evaluate_retrieval, ranked_gallery


def naive_order(query, gallery, distance):
    if distance == "cosine":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        return np.argsort(1 - query @ gallery.T, axis=1, kind="stable")
    return np.argsort(((query[:, None] - gallery[None]) ** 2).sum(axis=2), axis=1, kind="stable")


def naive_junk(p, c, gallery_ids, gallery_cameras, same_camera):
    removed = (gallery_ids == p) & (gallery_cameras == c) & (same_camera == "remove")
    return removed | (gallery_ids == -1)


def naive_retrieval(data, distance, ap, same_camera, max_rank):
    query, gallery = (part.numpy().astype(float) for part in data[:2])
    return naive_measures(naive_order(query, gallery, distance), data[2:], ap, same_camera, max_rank)


def naive_measures(orders, labels, ap, same_camera, max_rank):
    query_ids, gallery_ids, query_cameras, gallery_cameras = (part.numpy() for part in labels)
    aps, penalties, cmc = [], [], []
    for q, order in enumerate(orders):
        junk = naive_junk(query_ids[q], query_cameras[q], gallery_ids, gallery_cameras, same_camera)
        good = [gallery_ids[g] == query_ids[q] for g in order if not junk[g]]
        ranks = [rank for rank, is_good in enumerate(good) if is_good]
        aps.append(naive_average_precision(ranks, ap))
        if ranks:
            penalties.append(len(ranks) / (ranks[-1] + 1))
            cmc.append([float(any(good[: k + 1])) for k in range(max_rank)])
    return np.array(aps), np.mean(penalties), np.mean(cmc, axis=0)


def naive_average_precision(ranks, ap):
    total = 0.0
    for i, r in enumerate(ranks, start=1):
        before = 1.0 if r == 0 else (i - 1) / r
        total += i / (r + 1) if ap == "plain" else (i / (r + 1) + before) / 2
    return total / len(ranks) if ranks else math.nan


def random_data(seed, num_queries=23, num_gallery=61, num_ids=7, dim=16):
    """Features of +-1 have a norm of exactly 4 and few different distances: all arithmetic is exact, ties abound."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randint(2, (num_queries, dim), generator=rng) * 2.0 - 1
    gallery = torch.randint(2, (num_gallery, dim), generator=rng) * 2.0 - 1
    query_ids = torch.randint(1, num_ids + 4, (num_queries,), generator=rng)  # the last three have no gallery image
    gallery_ids = torch.randint(-1, num_ids, (num_gallery,), generator=rng)
    query_cameras = torch.randint(3, (num_queries,), generator=rng)
    gallery_cameras = torch.randint(3, (num_gallery,), generator=rng)
    return query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("ap", ["plain", "trapezoid"])
@pytest.mark.parametrize("same_camera", ["remove", "keep"])
def test_retrieval_is_the_naive_loop(seed, distance, ap, same_camera):
    data = random_data(seed, num_gallery=20 + 10 * seed)
    found = evaluate_retrieval(*data, distance=distance, ap=ap, same_camera=same_camera, max_rank=20, block=1 + seed)
    aps, penalty, cmc = naive_retrieval(data, distance, ap, same_camera, 20)
    np.testing.assert_allclose(found.average_precision, aps, rtol=1e-12)
    np.testing.assert_allclose(found.cmc, cmc, rtol=1e-12)
    assert found.mAP == pytest.approx(np.nanmean(aps), rel=1e-12)
    assert found.mINP == pytest.approx(penalty, rel=1e-12)
    assert (found.num_queries, found.num_skipped) == (len(aps), np.isnan(aps).sum())
    np.testing.assert_array_equal(found.first_match_rank == 0, np.isnan(aps))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_retrieval_of_real_valued_features_is_the_naive_loop(seed, distance):
    rng = torch.Generator().manual_seed(seed)
    data = (torch.randn(23, 8, generator=rng), torch.randn(61, 8, generator=rng), *random_data(seed)[2:])
    found = evaluate_retrieval(*data, distance=distance, max_rank=7, block=5)
    aps, _, cmc = naive_retrieval(data, distance, "plain", "remove", 7)
    np.testing.assert_allclose(found.average_precision, aps, rtol=1e-12)
    np.testing.assert_allclose(found.cmc, cmc, rtol=1e-12)


def test_one_ranking_by_hand():
    gallery = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    ids, cameras = torch.tensor([7, -1, 0, 7, 9, 7]), torch.tensor([1, 2, 2, 2, 2, 3])
    args = (torch.tensor([[0.0]]), gallery, torch.tensor([7]), ids, torch.tensor([1]), cameras)
    # Item 0 is the query's own camera, item 1 is junk: what is left is wrong, good, wrong, good.
    plain = evaluate_retrieval(*args, distance="euclidean", max_rank=4)
    assert plain.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert plain.mINP == pytest.approx(2 / 4)
    assert plain.cmc.tolist() == [0, 1, 1, 1]
    assert plain.first_match_rank.tolist() == [2]
    trapezoid = evaluate_retrieval(*args, distance="euclidean", ap="trapezoid")
    assert trapezoid.mAP == pytest.approx(((1 / 2 + 0 / 1) / 2 + (2 / 4 + 1 / 3) / 2) / 2)
    kept = evaluate_retrieval(*args, distance="euclidean", same_camera="keep")
    assert kept.mAP == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


def test_identity_zero_is_an_identity_like_any_other_where_a_query_asks_for_it():
    features, ids, cameras = torch.eye(2), torch.tensor([0, 1]), torch.tensor([1, 1])
    assert evaluate_retrieval(features[:1], features, ids[:1], ids, cameras[:1] + 1, cameras).mAP == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_cosine_and_euclidean_rank_normalised_features_identically(seed):
    data = random_data(seed)
    data = (data[0] / 4, data[1] / 4, *data[2:])
    cosine, euclidean = (evaluate_retrieval(*data, distance=distance) for distance in ("cosine", "euclidean"))
    np.testing.assert_array_equal(cosine.average_precision, euclidean.average_precision)
    orders = [ranked_gallery(*data, k=61, distance=distance) for distance in ("cosine", "euclidean")]
    assert torch.equal(*orders)


@pytest.mark.parametrize("rerank", [None, Rerank(k1=5)])
def test_cosine_is_that_of_directions_however_short(rerank):
    query, gallery, *labels = random_data(0)
    short = 2.0 ** -torch.arange(61)[:, None]
    found, plain = (evaluate_retrieval(query, of, *labels, rerank=rerank) for of in (gallery * short, gallery))
    np.testing.assert_array_equal(found.average_precision, plain.average_precision)


@pytest.mark.parametrize("block", [1, 7, 23, 1000])
def test_blocks_do_not_change_the_result(block):
    data = random_data(0)
    np.testing.assert_array_equal(
        evaluate_retrieval(*data, block=block).average_precision, evaluate_retrieval(*data).average_precision
    )


def float32_distances(data):
    """Those of `random_data`, exact; with +0.0 and -0.0 among them."""
    far = -(data[0] @ data[1].T)
    return torch.where(far.abs() < 5, far * 0.0, far)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("same_camera", ["remove", "keep"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_given_distances_are_ranked_as_the_naive_loop_does(seed, same_camera, kind):
    data = random_data(seed, num_gallery=20 + 10 * seed)
    far = float32_distances(data)
    assert len(far[far == 0].signbit().unique()) == 2
    given = far.to(kind)
    found = evaluate_distances(given, *data[2:], same_camera=same_camera, max_rank=20, block=1 + 3 * seed)
    orders = np.argsort(far.numpy(), axis=1, kind="stable")
    aps, penalty, cmc = naive_measures(orders, data[2:], "plain", same_camera, 20)
    np.testing.assert_allclose(found.average_precision, aps, rtol=1e-12)
    np.testing.assert_allclose(found.cmc, cmc, rtol=1e-12)
    assert found.mINP == pytest.approx(penalty, rel=1e-12)
    assert torch.equal(given, far.to(kind)) and found.summary()["distance"] is None


def test_distances_given_in_float64_are_not_rounded():
    ids = torch.tensor([1, 2])
    far = torch.tensor([[1.0 + 1e-12, 1.0]], dtype=torch.float64)
    ranks = [
        evaluate_distances(of, ids[:1], ids, same_camera="keep").first_match_rank.item() for of in (far, far.float())
    ]
    assert ranks == [2, 1]


@pytest.mark.parametrize(
    ("far", "message"),
    [
        (torch.zeros(4), r"distances must be floating \[queries, gallery\], got torch.float32 of shape \[4\]"),
        (torch.zeros(0, 61), r"of shape \[0, 61\]"),
        (torch.zeros(23, 61, dtype=torch.int64), "got torch.int64"),
        (torch.full((23, 61), math.nan), "distances must be finite"),
        (torch.zeros(23, 61).index_fill(1, torch.tensor([3]), math.inf), "distances must be finite"),
        (torch.zeros(22, 61), "query_ids must hold one number for each of 22 images, got 23"),
        (torch.zeros(23, 60), "gallery_ids must hold one number for each of 60 images, got 61"),
    ],
)
def test_distances_that_do_not_fit_are_refused(far, message):
    with pytest.raises(ValueError, match=message):
        evaluate_distances(far, *random_data(0)[2:])


def test_distances_whose_sum_overflows_are_finite_all_the_same():
    data = random_data(0)
    far = torch.randn(23, 61, generator=torch.Generator().manual_seed(0)).abs()
    found, large = (evaluate_distances(of, *data[2:]) for of in (far, far * 2.0**125))
    assert (far * 2.0**125).sum().isinf() and found.mAP == large.mAP


def test_no_autocast_lowers_the_distances():
    rng = torch.Generator().manual_seed(0)
    data = (torch.randn(23, 64, generator=rng), torch.randn(61, 64, generator=rng), *random_data(0)[2:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = evaluate_retrieval(*data)
    np.testing.assert_array_equal(lowered.average_precision, evaluate_retrieval(*data).average_precision)


def test_features_still_attached_to_a_network_are_ranked_too():
    data = random_data(0)
    attached = [data[0].clone().requires_grad_(), data[1].clone().requires_grad_(), *data[2:]]
    assert evaluate_retrieval(*attached).mAP == evaluate_retrieval(*data).mAP


@pytest.mark.parametrize("k", [1, 3, 8, 40, 41, 99])
@pytest.mark.parametrize(("size", "values"), [(40, 3), (299, 3), (299, 10_000)])
def test_the_nearest_are_the_first_of_the_stable_order(k, size, values):
    far = torch.randint(-values, values + 1, (30, size), generator=torch.Generator().manual_seed(k)) / 4
    far = torch.cat([far, torch.full((1, size), math.inf), far[:1] * -0.0])
    far[-1, ::3] = 0.0
    expected = np.argsort(far.numpy(), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(distance_module.nearest(far, k), expected)
    np.testing.assert_array_equal(distance_module.stable_order(far)[:, :k], expected)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("same_camera", ["remove", "keep"])
def test_ranked_gallery_is_the_stable_order_without_junk(distance, same_camera):
    data = random_data(1)
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = (part.numpy() for part in data)
    found = ranked_gallery(*data, k=70, distance=distance, same_camera=same_camera, block=4).numpy()
    for q, order in enumerate(naive_order(query.astype(float), gallery.astype(float), distance)):
        junk = naive_junk(query_ids[q], query_cameras[q], gallery_ids, gallery_cameras, same_camera)
        expected = [g for g in order if not junk[g]]
        assert found[q].tolist() == expected + [-1] * (70 - len(expected))
    np.testing.assert_array_equal(ranked_gallery(*data, k=3, distance=distance, same_camera=same_camera), found[:, :3])


def test_ranked_gallery_of_one_feature_without_identities():
    gallery = torch.eye(4) + torch.tensor([0.0, 0.1, 0.0, 0.0])
    assert ranked_gallery(torch.tensor([0.0, 1.0, 0.0, 0.0]), gallery, k=2).tolist() == [[1, 0]]


def test_ranked_gallery_of_nothing_but_junk_is_empty():
    ids = torch.tensor([-1, -1])
    assert ranked_gallery(torch.eye(2), torch.eye(2), ids, ids, k=2, same_camera="keep").tolist() == [[-1, -1]] * 2


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("rerank", [None, Rerank(k1=5, k2=2)])
def test_the_nearest_are_the_ranked_gallery_with_their_distances(distance, rerank):
    data = random_data(2)
    query, gallery = (part.double() for part in data[:2])
    found = evaluate_retrieval(*data, distance=distance, rerank=rerank, num_nearest=70, block=4)
    np.testing.assert_array_equal(found.nearest, ranked_gallery(*data, k=70, distance=distance, rerank=rerank))
    assert ((found.nearest < 0) == np.isnan(found.nearest_distance)).all()
    exact = torch.cdist(query, gallery) if distance == "euclidean" else 1 - query @ gallery.T / 16
    for near, far, own in zip(found.nearest, found.nearest_distance, exact.numpy(), strict=True):
        far = far[near >= 0]
        assert (np.diff(far) >= 0).all() if rerank else np.allclose(far, own[near[near >= 0]], atol=1e-6)


def test_the_summary_names_its_definitions_and_is_json():
    summary = evaluate_retrieval(*random_data(0), ap="trapezoid", distance="euclidean", same_camera="keep").summary()
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["ap"], summary["distance"], summary["same_camera"]) == ("trapezoid", "euclidean", "keep")
    assert {"mAP", "mINP", "rank-1", "rank-5", "rank-10", "num_queries", "num_skipped"} <= set(summary)


def test_rank_is_the_cmc():
    found = evaluate_retrieval(*random_data(0), max_rank=5)
    assert [found.rank(k) for k in range(1, 6)] == found.cmc.tolist()
    for k in (0, 6):
        with pytest.raises(ValueError, match=r"k must be in 1\.\.max_rank=5"):
            found.rank(k)


@pytest.mark.parametrize("rerank", [None, Rerank(k1=5)])
def test_every_identity_below_0_is_junk(rerank):
    query, gallery, query_ids, gallery_ids, *cameras = random_data(1)
    query_ids[:5] = -1
    many = [ids.where(ids != -1, -1 - torch.arange(len(ids)) % 3) for ids in (query_ids, gallery_ids)]
    found, expected = (
        evaluate_retrieval(query, gallery, *ids, *cameras, rerank=rerank) for ids in (many, (query_ids, gallery_ids))
    )
    assert (many[1] < -1).any()
    np.testing.assert_array_equal(found.average_precision, expected.average_precision)
    ranked = ranked_gallery(query, gallery, *many, *cameras, rerank=rerank, k=61)
    assert not (many[1][ranked[ranked >= 0]] < 0).any()


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint64, torch.int32, torch.float64])
def test_whole_numbers_of_every_type_are_the_same_identities(kind):
    query, gallery, query_ids, gallery_ids, *cameras = random_data(2)
    ids = [ids.clamp(min=0) for ids in (query_ids, gallery_ids)]
    found, expected = (
        evaluate_retrieval(query, gallery, *(each.to(k) for each in ids), *cameras) for k in (kind, torch.int64)
    )
    assert found.mAP == expected.mAP


def broken(place, value):
    data = list(random_data(0))
    data[place] = value
    return data


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (broken(0, torch.randn(23, 5)), {}, "equally long, got 5 and 16"),
        (broken(0, torch.randn(16)), {}, "query features must be"),
        (broken(1, torch.randn(0, 16)), {}, "gallery features must be"),
        (broken(1, torch.full((61, 16), math.nan)), {}, "gallery features must be finite.* 61 of 61"),
        (broken(0, torch.full((23, 16), math.inf)), {}, "query features must be finite"),
        (broken(0, torch.full((23, 16), 1e20)), {}, "query features must be finite in float32.* overflows"),
        (broken(2, torch.ones(22)), {}, "query_ids must hold one number for each of 23 images, got 22"),
        (broken(3, None), {}, "gallery_ids must hold one number for each of 61 images, got 0"),
        (broken(5, torch.ones(60)), {}, "gallery_cameras must hold"),
        (broken(2, torch.full((23,), math.nan)), {}, "query_ids must be whole numbers, got nan"),
        (broken(4, torch.full((23,), 1.5)), {}, "query_cameras must be whole numbers, got 1.5"),
        (broken(2, torch.ones(23, dtype=torch.bool)), {}, "query_ids must be whole numbers, got torch.bool"),
        (broken(3, torch.full((61,), 1e20)), {}, "gallery_ids must be whole numbers, got 1.0.*e.20"),
        (broken(3, torch.full((61,), 2**63 + 5, dtype=torch.uint64)), {}, "gallery_ids must .* 9223372036854775813"),
        (broken(4, torch.full((23,), -1)), {}, "query_cameras must be 0 or more.* got -1.*--keep-same-camera"),
        (broken(4, None), {}, 'same_camera="keep"'),
        (broken(5, None), {}, "--keep-same-camera"),
        (broken(2, torch.full((23,), 99)), {}, "no query has a match"),
        (broken(3, torch.full((61,), -1)), {}, "no query has a match"),
        (broken(2, torch.full((23,), -1)), {}, "no query has a match"),
        (broken(1, torch.eye(61, 16)), {}, "must not be zero .* 45 of 61 rows, .* row 16; .*euclidean"),
        (random_data(0), {"distance": "manhattan"}, "distance must be one of 'cosine', 'euclidean', got 'manhattan'"),
        (random_data(0), {"ap": "voc"}, "ap must be one of"),
        (random_data(0), {"same_camera": True}, "same_camera must be one of"),
        (random_data(0), {"max_rank": 0}, "max_rank must be 1 or more"),
        (random_data(0), {"block": 0}, "block must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_distance(monkeypatch, data, options, message):
    monkeypatch.setattr("nas.metrics.retrieval.distances", None)
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(*data, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_retrieval_on_a_gpu_is_retrieval_on_a_cpu():
    data = random_data(0)
    found = evaluate_retrieval(*(part.cuda() for part in data))
    np.testing.assert_array_equal(found.average_precision, evaluate_retrieval(*data).average_precision)
    assert torch.equal(ranked_gallery(*(part.cuda() for part in data)).cpu(), ranked_gallery(*data))
