"""Thresholds of verification against scikit-learn's ROC over all pairs."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from nas.metrics.distance import pair_distance
from nas.metrics.pairs import pair_distances
from nas.metrics.verification import BINS, FALSE_POSITIVE_RATES, Verification, verification

SETS = {"of cosine": ("cosine", False), "euclidean": ("euclidean", False), "with ties": ("cosine", True)}


def test_set(tied: bool) -> dict[str, torch.Tensor]:
    """Queries and a gallery with junk, cameras, a query without match, and, if `tied`, many equal distances."""
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 8, generator=rng)
    ids = {"query": torch.arange(40) % 12, "gallery": torch.arange(400) % 12}
    ids["gallery"][::17] = -1
    ids["query"][3] = 77
    arrays = {}
    for name, of_side in ids.items():
        features = centres[of_side.clamp(0, 11)] + 1.2 * torch.randn(len(of_side), 8, generator=rng)
        arrays[name] = features.sign() if tied else features
        arrays[f"{name}_ids"] = of_side
        arrays[f"{name}_cameras"] = torch.randint(3, (len(of_side),), generator=rng)
    return arrays


test_set.__test__ = False


def all_pairs(arrays: dict, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pair that counts is right, and its distance, one pair at a time."""
    right, apart = [], []
    for q, identity in enumerate(arrays["query_ids"].tolist()):
        own = arrays["gallery_ids"] == identity
        junk = (arrays["gallery_ids"] < 0) | (own & (arrays["gallery_cameras"] == arrays["query_cameras"][q]))
        if not (own & ~junk).any():
            continue
        right += own[~junk].tolist()
        apart += pair_distance(arrays["query"][q][None], arrays["gallery"][~junk][None], distance)[0].tolist()
    return np.array(right), np.array(apart)


def verified(arrays: dict, distance: str) -> Verification:
    names = ("query", "gallery", "query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
    return verification(pair_distances(*(arrays[name] for name in names), distance=distance, bins=BINS, block=7))


@pytest.mark.parametrize("name", SETS)
def test_it_is_the_roc_of_scikit_learn(name):
    distance, tied = SETS[name]
    arrays = test_set(tied)
    found = verified(arrays, distance)
    right, apart = all_pairs(arrays, distance)
    apart = np.round(apart, 4) if tied else apart  # rounding errors of equal distances are no order
    fpr, tpr, scores = roc_curve(right, -apart, drop_intermediate=False)
    assert (found.num_right, found.num_wrong) == (right.sum(), (~right).sum())
    for point, rate in zip(found.points[:2], FALSE_POSITIVE_RATES, strict=False):
        place = np.searchsorted(fpr, rate, side="right") - 1
        assert point.tpr == pytest.approx(tpr[place], abs=1e-12)
        nearest = apart.min() if place == 0 else -scores[place]
        assert point.threshold == pytest.approx(nearest, abs=1e-4 if tied else 4e-5)
        assert (apart[~right] <= point.threshold).mean() <= rate
    crossing = np.interp(0, tpr + fpr - 1, fpr)
    assert found.eer == pytest.approx(crossing, abs=1e-6)
    gaps = np.abs(1 - tpr - fpr)
    at_threshold = np.searchsorted(np.sort(apart[right]), found.eer_threshold + 1e-4 * tied, side="right") / right.sum()
    assert abs(at_threshold - tpr[gaps.argmin()]) < 1e-9
    assert set(found.fpr) <= set(fpr) and set(found.tpr) <= set(tpr)
    assert (found.fpr[0], found.tpr[0], found.fpr[-1], found.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(found.fpr) >= 0).all() and (np.diff(found.tpr) >= 0).all()


def test_a_rate_that_the_split_cannot_resolve_is_left_open():
    found = verified(test_set(False), "cosine")
    assert 1e3 <= found.num_wrong < 1e5
    resolved = [found.num_wrong * rate >= 1 for rate in FALSE_POSITIVE_RATES]
    assert [point.tpr is not None for point in found.points] == resolved
    assert [point.threshold is not None for point in found.points] == resolved


def test_few_wrong_pairs_give_no_rate_at_all():
    pairs = pair_distances(
        torch.eye(3), torch.eye(3), torch.arange(3), torch.arange(3), distance="cosine", same_camera="keep", bins=BINS
    )
    found = verification(pairs)
    assert [point.tpr for point in found.points] == [None, None, None]
    assert found.eer == 0 and 0 <= found.eer_threshold < 1
    assert set(found.summary()) == {"num_right", "num_wrong", "eer", "eer_threshold", "points", "roc"}


def test_the_curve_that_is_kept_is_short_and_close_to_the_whole():
    rng = np.random.default_rng(0)
    gallery = torch.from_numpy(rng.normal(size=(3000, 16))).float()
    ids = torch.arange(3000) % 300
    gallery += torch.from_numpy(rng.normal(size=(300, 16))).float()[ids]
    pairs = pair_distances(gallery[:300], gallery, ids[:300], ids, same_camera="keep", bins=BINS)
    found = verification(pairs)
    whole = [np.append(0, counts.cumsum()) / counts.sum() for counts in (pairs.wrong, pairs.right)]
    at = np.geomspace(1e-4, 1, 50)
    kept = found.tpr[np.searchsorted(found.fpr, at, side="right") - 1]
    assert len(found.fpr) < 500
    assert np.abs(kept - whole[1][np.searchsorted(whole[0], at, side="right") - 1]).max() < 0.02
