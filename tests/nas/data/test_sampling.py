"""What an epoch's batches are made of."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from nas.data.sampling import ClassBalanced, Shuffled, Switched, class_balanced, shuffled

LABELS = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 9])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestClassBalanced:
    def test_batch_holds_ids_times_images(self):
        plan = class_balanced(LABELS, 3, 4, rng(), num_batches=20)
        assert plan.shape == (20, 12)
        for batch in plan:
            assert list(Counter(LABELS[batch].tolist()).values()) == [4, 4, 4]

    def test_images_repeat_only_where_there_are_too_few(self):
        for batch in class_balanced(LABELS, 3, 4, rng(), num_batches=50):
            for images in batch.reshape(3, 4):
                available = (LABELS[images[0]] == LABELS).sum()
                assert len(set(images.tolist())) == min(4, available)

    def test_all_identities_come_by_before_one_comes_again(self):
        plan = class_balanced(LABELS, 3, 2, rng(), num_batches=70)
        order = LABELS[plan[:, ::2]].ravel()
        counts = np.array([np.bincount(order[: 3 * n], minlength=7) for n in range(1, 71)])
        assert (counts.max(axis=1) - counts.min(axis=1) <= 2).all() and counts[-1].tolist() == [30] * 7

    def test_every_image_has_its_chance(self):
        assert set(class_balanced(LABELS, 3, 2, rng(), num_batches=200).ravel().tolist()) == set(range(len(LABELS)))

    def test_default_is_an_epoch(self):
        assert len(class_balanced(LABELS, 3, 2, rng())) == 30 // 6
        assert len(class_balanced(LABELS, 7, 8, rng())) == 1

    def test_too_few_identities_are_an_error(self):
        with pytest.raises(ValueError, match="num_ids=8 .* which has 7; set num_ids to at most 7"):
            class_balanced(LABELS, 8, 2, rng())


class TestShuffled:
    def test_each_image_comes_once_and_the_rest_is_dropped(self):
        plan = shuffled(LABELS, 8, rng())
        assert plan.shape == (3, 8) and len(set(plan.ravel().tolist())) == 24

    def test_too_few_images_are_an_error(self):
        with pytest.raises(ValueError, match="batch_size=31 .* which has 30; set batch_size to at most 30"):
            shuffled(LABELS, 31, rng())


class TestSwitched:
    balanced = ClassBalanced(num_ids=3, images_per_id=2)
    sampling = Switched(first=Shuffled(batch_size=6), then=balanced, at=2)

    def test_plain_batches_come_first(self):
        for epoch in range(4):
            kind = self.sampling.first if epoch < 2 else self.balanced
            assert np.array_equal(self.sampling.plan(LABELS, rng(epoch), epoch), kind.plan(LABELS, rng(epoch), epoch))

    @pytest.mark.parametrize("num_batches, expected", [(2, 2), (None, 5), (9, 5)])
    def test_all_epochs_are_equally_long(self, num_batches, expected):
        then = replace(self.balanced, num_batches=num_batches)
        sampling = replace(self.sampling, then=then)
        plans = [sampling.plan(LABELS, rng(), epoch) for epoch in range(4)]
        assert [plan.shape for plan in plans] == [(expected, 6)] * 4

    def test_the_first_kind_may_last_or_never_come(self):
        first, second = (replace(self.sampling, at=at).plan(LABELS, rng(), 3) for at in (4, 0))
        assert np.array_equal(first, shuffled(LABELS, 6, rng()))
        assert np.array_equal(second, class_balanced(LABELS, 3, 2, rng()))

    def test_batches_of_two_sizes_are_an_error(self):
        with pytest.raises(ValueError, match="equally many images, not 64 and 3 x 2 = 6"):
            Switched(first=Shuffled(batch_size=64), then=self.balanced)
