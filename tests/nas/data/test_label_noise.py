"""Wrong labels: exactly the share asked for, evenly among the others, by seed and epoch alone."""

import numpy as np
import pytest

from nas.data.label_noise import fewest_identities, noisy_labels

LABELS = np.repeat(np.arange(5), [3, 5, 8, 13, 21])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_share_is_exact_and_no_redrawn_label_is_the_right_one(share: float):
    for epoch in range(20):
        noisy = noisy_labels(LABELS, share, 5, 0, epoch)
        assert (noisy != LABELS).sum() == round(share * len(LABELS))
        assert noisy.min() >= 0 and noisy.max() < 5 and noisy.dtype == np.int64


def test_no_noise_is_the_right_labels():
    assert noisy_labels(LABELS, 0.0, 5, 0, 3).tolist() == LABELS.tolist()
    assert noisy_labels(np.zeros(4, dtype=np.int64), 0.0, 1, 0, 0).tolist() == [0] * 4


def test_right_labels_are_left_alone():
    before = LABELS.copy()
    noisy_labels(LABELS, 0.5, 5, 0, 0)
    assert LABELS.tolist() == before.tolist()


def test_seed_and_epoch_decide():
    assert noisy_labels(LABELS, 0.5, 5, 1, 2).tolist() == noisy_labels(LABELS, 0.5, 5, 1, 2).tolist()
    drawn = {tuple(noisy_labels(LABELS, 0.5, 5, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(drawn) == 9


def test_images_and_other_identities_are_drawn_evenly():
    drawn = np.array([noisy_labels(LABELS, 0.4, 5, 0, epoch) for epoch in range(4000)])
    wrong = drawn != LABELS
    assert np.abs(wrong.mean(axis=0) - 0.4).max() < 0.035  # 4.5 standard deviations
    for label in range(5):
        images = label == LABELS
        shares = np.bincount(drawn[:, images][wrong[:, images]], minlength=5) / wrong[:, images].sum()
        assert shares[label] == 0 and np.abs(np.delete(shares, label) - 0.25).max() < 0.03


def test_single_identity_cannot_be_mistaken():
    with pytest.raises(ValueError, match=r"label_noise=0.5 needs at least two identities .* got 1"):
        noisy_labels(np.zeros(4, dtype=np.int64), 0.5, 1, 0, 0)


@pytest.mark.parametrize(("share", "fewest"), [(0.0, 5), (0.04, 5), (0.06, 4), (0.14, 4), (0.16, 3), (0.9, 1)])
def test_the_smallest_identities_may_vanish(share: float, fewest: int):
    assert fewest_identities(LABELS, share) == fewest


def test_fewest_is_reached_and_never_undercut():
    labels = np.repeat(np.arange(4), [1, 2, 3, 4])
    seen = {len(np.unique(noisy_labels(labels, 0.3, 4, 0, epoch))) for epoch in range(5000)}
    assert seen == {2, 3, 4} and fewest_identities(labels, 0.3) == 2
