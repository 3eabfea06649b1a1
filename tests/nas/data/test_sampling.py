"""What an epoch's batches are made of."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from nas.data.sampling import (
    ClassBalanced,
    Shuffled,
    Switched,
    class_balanced,
    num_query_pairs,
    query_pairs,
    shuffled,
)

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


class TestQueryPairs:
    FRAMES = [np.array(of_frame, dtype=np.int64) for of_frame in ([0, 1], [2, -1], [], [1, 0, 1], [0, 3], [3, -1, -1])]

    def test_all_ordered_pairs_of_an_identitys_frames_where_there_are_no_more(self):
        pairs = query_pairs(self.FRAMES, 99, rng()).tolist()
        seen = {(self.FRAMES[query][place], query, frame) for query, place, frame in pairs}
        everybody = {0: [0, 3, 4], 1: [0, 3], 3: [4, 5]}  # 2 is in one frame, and nobody knows -1
        assert seen == {(who, q, g) for who, frames in everybody.items() for q in frames for g in frames if q != g}
        assert len(pairs) == len(seen) == num_query_pairs(self.FRAMES, 99) == 10

    def test_each_identity_has_as_many_as_are_asked_for_and_none_twice(self):
        pairs = query_pairs(self.FRAMES, 3, rng())
        names = [self.FRAMES[query][place] for query, place, _ in pairs]
        assert Counter(map(int, names)) == {0: 3, 1: 2, 3: 2} and num_query_pairs(self.FRAMES, 3) == 7
        assert len({(query, frame, who) for (query, _, frame), who in zip(pairs.tolist(), names, strict=True)}) == 7

    def test_chance_chooses_pairs_evenly_and_repeats_with_its_seed(self):
        drawn = [query_pairs(self.FRAMES, 1, rng(seed)) for seed in range(600)]
        of_first = Counter(tuple(map(int, pairs[0])) for pairs in drawn)
        assert len(of_first) == 6 and min(of_first.values()) > 60
        of_twice = Counter(int(pairs[1][1]) for pairs in drawn if pairs[1][0] == 3)
        assert of_twice.keys() == {0, 2} and min(of_twice.values()) > 100, "either box of a person who is there twice"
        assert np.array_equal(query_pairs(self.FRAMES, 2, rng(7)), query_pairs(self.FRAMES, 2, rng(7)))

    def test_nobody_in_two_frames_makes_no_pair(self):
        assert query_pairs(self.FRAMES[1:3], 5, rng()).shape == (0, 3) and num_query_pairs(self.FRAMES[1:3], 5) == 0
