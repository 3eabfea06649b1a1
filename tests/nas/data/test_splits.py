import numpy as np
import pytest

from nas.data.splits import by_identity, by_image

LABELS = np.repeat(np.arange(10), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])[np.random.default_rng(0).permutation(65)]


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


class TestByImage:
    def test_halves_share_out_every_image_once(self):
        train, val = by_image(LABELS, rng())
        assert sorted([*train, *val]) == list(range(65)) and abs(len(train) - len(val)) <= 1
        assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()

    def test_every_identity_is_halved(self):
        train, val = (np.bincount(LABELS[half], minlength=10) for half in by_image(LABELS, rng()))
        assert np.abs(train - val).max() <= 1 and min(train.min(), val.min()) >= 1

    def test_chance_decides(self):
        assert by_image(LABELS, rng())[0].tolist() == by_image(LABELS, rng())[0].tolist()
        assert by_image(LABELS, rng())[0].tolist() != by_image(LABELS, np.random.default_rng(2))[0].tolist()

    def test_single_images_go_to_either_half(self):
        train, val = by_image(np.arange(6), rng())
        assert len(train) == len(val) == 3


class TestByIdentity:
    def test_a_fifth_is_for_training_only_and_two_fifths_for_validation_only(self):
        train, val = (set(LABELS[half].tolist()) for half in by_identity(LABELS, rng()))
        assert (len(train - val), len(train & val), len(val - train)) == (2, 4, 4)

    def test_every_image_is_used_once_and_shared_identities_are_halved(self):
        train, val = by_identity(LABELS, rng())
        assert sorted([*train, *val]) == list(range(65))
        for one in set(LABELS[train].tolist()) & set(LABELS[val].tolist()):
            assert abs((LABELS[train] == one).sum() - (LABELS[val] == one).sum()) <= 1

    def test_too_few_identities_are_an_error(self):
        with pytest.raises(ValueError, match="at least five identities; got 4"):
            by_identity(np.repeat(np.arange(4), 2), rng())
