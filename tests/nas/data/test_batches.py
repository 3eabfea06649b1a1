"""Batches depend on (seed, epoch, step) and on nothing else."""

import threading
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.augment import Augment
from nas.data.base import Split
from nas.data.batches import Batch, Batches
from nas.data.cache import ImageCache
from nas.data.sampling import ClassBalanced, Sampling, Shuffled, Switched
from nas.data.sets.pedestrians import Pedestrians

SOURCE = Pedestrians(num_train_ids=6, num_test_ids=1, images_per_id=5, height=32, width=16)


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    return ImageCache(SOURCE.load().train, 24, 12)


def batches(cache: ImageCache, sampling: Sampling | None = None, **kwargs) -> Batches:
    sampling = sampling or ClassBalanced(num_ids=3, images_per_id=2)
    return Batches(cache, SOURCE.load().train_labels, sampling, Augment(crop_padding=3, erase=0.5), seed=7, **kwargs)


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


class TestBatches:
    def test_batch_is_images_and_their_labels(self, cache: ImageCache):
        epoch = list(batches(cache)(0))
        assert len(epoch) == len(batches(cache)) == 5
        assert epoch[0].images.shape == (6, 3, 24, 12) and epoch[0].images.dtype == torch.float32
        assert epoch[0].labels.dtype == torch.int64 and epoch[0].teacher is None

    @pytest.mark.parametrize(
        "sampling",
        [
            ClassBalanced(num_ids=3, images_per_id=2),
            Shuffled(batch_size=5),
            Switched(first=Shuffled(batch_size=6), then=ClassBalanced(num_ids=3, images_per_id=2), at=4),
        ],
    )
    @pytest.mark.parametrize("num_prefetch", [0, 1, 9])
    def test_starting_late_gives_the_same_batches_to_the_bit(
        self, cache: ImageCache, sampling: Sampling, num_prefetch: int
    ):
        whole = list(batches(cache, sampling)(4))
        late = list(batches(cache, sampling, num_prefetch=num_prefetch)(4, start=2))
        assert len(late) == len(whole) - 2 and all(map(equal, late, whole[2:]))
        assert list(batches(cache, sampling)(4, start=len(whole))) == []

    def test_epochs_and_seeds_differ(self, cache: ImageCache):
        first = next(batches(cache)(0))
        assert not equal(first, next(batches(cache)(1)))
        other = batches(cache)
        other.seed = 8
        assert not equal(first, next(other(0)))

    def test_same_images_are_augmented_differently_in_each_step(self, cache: ImageCache):
        whole = Batches(cache, np.zeros(30, dtype=int), Shuffled(batch_size=1), Augment(), 0, indices=np.array([3]))
        assert not equal(next(whole(0)), next(whole(1)))

    def test_only_the_given_images_are_drawn(self, cache: ImageCache):
        labels, half = np.arange(30), np.arange(1, 30, 2)
        drawn = Batches(cache, labels, Shuffled(batch_size=5), Augment(), 0, indices=half)
        assert sorted(torch.cat([batch.labels for batch in drawn(0)]).tolist()) == half.tolist()

    def test_ranks_share_out_the_batches_of_one_process(self, cache: ImageCache):
        whole = list(batches(cache)(2))
        ranks = [batches(cache, rank=rank, world_size=2) for rank in (0, 1)]
        assert [len(one) for one in ranks] == [2, 2]
        for rank, one in enumerate(ranks):
            assert all(map(equal, one(2), whole[rank::2]))
            assert equal(next(one(2, start=1)), whole[rank + 2])

    def test_more_ranks_than_batches_are_an_error(self, cache: ImageCache):
        with pytest.raises(ValueError, match="6 processes need a batch each"):
            batches(cache, world_size=6)

    def test_labels_must_fit_the_images(self, cache: ImageCache):
        with pytest.raises(ValueError, match="7 labels for 30 images"):
            Batches(cache, np.arange(7), Shuffled(), Augment(), 0)

    def test_exactly_the_share_of_the_drawn_labels_is_wrong_and_others_in_each_epoch(self, cache: ImageCache):
        right, half = np.arange(30) // 5, np.arange(1, 30, 2)
        noisy = Batches(cache, right, Shuffled(batch_size=1), Augment(), 0, indices=half, label_noise=0.4)
        alone = Batches(cache, np.arange(30), Shuffled(batch_size=1), Augment(), 0, indices=half)  # labels are indices
        wrong = []
        for epoch in range(2):
            images = [int(batch.labels) for batch in alone(epoch)]
            labels = [int(batch.labels) for batch in noisy(epoch)]
            wrong.append({i for i, label in zip(images, labels, strict=True) if label != right[i]})
            assert sorted(images) == half.tolist() and len(wrong[-1]) == round(0.4 * 15)
        assert wrong[0] != wrong[1]

    def test_wrong_labels_decide_which_images_come_together(self, cache: ImageCache):
        for batch in batches(cache, label_noise=0.5)(3):
            assert sorted(batch.labels.bincount().tolist(), reverse=True)[:3] == [2, 2, 2]

    def test_noise_is_the_same_after_a_late_start_and_for_all_ranks(self, cache: ImageCache):
        whole = list(batches(cache, label_noise=0.5)(4))
        assert all(map(equal, batches(cache, label_noise=0.5)(4, start=2), whole[2:]))
        for rank in (0, 1):
            assert all(map(equal, batches(cache, label_noise=0.5, rank=rank, world_size=2)(4), whole[rank::2]))

    def test_noise_that_may_leave_too_few_identities_is_an_error(self, cache: ImageCache):
        with pytest.raises(ValueError, match="num_ids=3 .* label_noise=0.7 may leave only 2; lower one of the two"):
            batches(cache, label_noise=0.7)

    def test_error_in_the_thread_reaches_the_loop(self):
        train = SOURCE.load().train
        broken = ImageCache(Split(images=Failing(), ids=train.ids), 24, 12, max_gib=0)
        with pytest.raises(ValueError, match="cannot read"):
            list(batches(broken)(0))

    def test_leaving_early_stops_the_thread(self, cache: ImageCache):
        before = set(threading.enumerate())
        epoch = batches(cache)(0)
        list(islice(epoch, 1))
        assert len(set(threading.enumerate()) - before) == 1
        epoch.close()
        assert set(threading.enumerate()) <= before


class Failing:
    always_readable = True

    def __len__(self) -> int:
        return 30

    def read(self, i: int) -> Image.Image:
        raise ValueError("cannot read")

    def name(self, i: int) -> str:
        return str(i)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gets_the_same_batches(cache: ImageCache):
    for a, b in zip(batches(cache, device="cuda")(0), batches(cache)(0), strict=True):
        assert a.images.is_cuda and a.labels.is_cuda
        torch.testing.assert_close(a.images.cpu(), b.images)
