"""Batches depend on (seed, epoch, step) and on nothing else; augmenting a batch is augmenting each image."""

import threading
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nas.data.base import Split
from nas.data.batches import (
    Augment, Batch, Batches, ClassBalanced, Drawn, ImageCache, Sampling, Shuffled, augmented, class_balanced, normalise,
    shuffled,
)  # fmt: skip
from nas.data.pedestrians import Pedestrians

SOURCE = Pedestrians(num_train_ids=6, num_test_ids=1, images_per_id=5, height=32, width=16)
LABELS = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 9])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    return ImageCache(SOURCE.load().train, 24, 12)


def batches(cache: ImageCache, sampling: Sampling | None = None, **kwargs) -> Batches:
    sampling = sampling or ClassBalanced(num_ids=3, images_per_id=2)
    return Batches(cache, SOURCE.load().train_labels, sampling, Augment(crop_padding=3, erase=0.5), seed=7, **kwargs)


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


class TestImageCache:
    def test_memory_and_decoding_on_demand_agree(self, cache: ImageCache):
        on_demand = ImageCache(SOURCE.load().train, 24, 12, max_gib=0)
        indices = np.array([4, 0, 29, 4])
        assert cache.get(indices).shape == (4, 3, 24, 12) and cache.get(indices).dtype == torch.uint8
        assert torch.equal(cache.get(indices), on_demand.get(indices))

    def test_image_is_resized_with_antialiasing(self, cache: ImageCache):
        image = SOURCE.load().train.images.read(3).resize((12, 24), Image.Resampling.BILINEAR)
        assert np.array_equal(cache.get(np.array([3]))[0].permute(1, 2, 0).numpy(), np.asarray(image))

    def test_image_of_the_right_size_is_untouched(self):
        train = SOURCE.load().train
        assert np.array_equal(ImageCache(train, 32, 16).get([2])[0].permute(1, 2, 0), np.asarray(train.images.read(2)))

    def test_progress_counts_up_to_all(self):
        seen = []
        ImageCache(SOURCE.load().query, 24, 12, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def naive(image: Tensor, drawn: list[int], padding: int) -> Tensor:
    flip, crop_top, crop_left, top, bottom, left, right = drawn
    _, height, width = image.shape
    padded = torch.zeros(3, height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = image
    image = padded[:, crop_top : crop_top + height, crop_left : crop_left + width]
    image = image.flip(2) if flip else image
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    image = (image / 255 - mean) / std
    image[:, top:bottom, left:right] = 0
    return image


class TestAugment:
    images = torch.randint(0, 256, (64, 3, 40, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(3)

    @pytest.mark.parametrize("augment", [Augment(), Augment(crop_padding=0, erase=1.0), Augment(flip=1, erase=0.5)])
    def test_equals_a_loop_over_the_images(self, augment: Augment):
        drawn = torch.stack(augment.draw(64, 40, 20, self.generator())).T.tolist()
        expected = [naive(image, one, augment.crop_padding) for image, one in zip(self.images, drawn, strict=True)]
        torch.testing.assert_close(augment(self.images, self.generator()), torch.stack(expected), atol=1e-5, rtol=1e-5)

    def test_nothing_to_do_is_normalising(self):
        augment = Augment(flip=0, crop_padding=0)
        torch.testing.assert_close(augment(self.images, self.generator()), normalise(self.images))

    def test_normalised_mean_is_zero(self):
        mean = torch.tensor([0.485, 0.456, 0.406]).mul(255).round().to(torch.uint8).view(1, 3, 1, 1)
        assert normalise(mean).abs().max() < 0.01 and normalise(mean).dtype == torch.float32

    def test_erased_rectangles_keep_to_area_and_aspect(self):
        drawn = Augment(erase=1.0).draw(4000, 128, 64, self.generator())
        tall, wide = (drawn.bottom - drawn.top).float(), (drawn.right - drawn.left).float()
        area, aspect = tall * wide / (128 * 64), tall / wide
        assert 0.018 < area.min() < 0.03 and 0.3 < area.max() < 0.42
        assert 0.28 < aspect.min() < 0.4 and 2.5 < aspect.max() < 3.6
        assert (drawn.top >= 0).all() and (drawn.bottom <= 128).all() and (drawn.right <= 64).all()

    def test_probabilities_are_kept(self):
        drawn = Augment(flip=0.3, erase=0.2).draw(10_000, 128, 64, self.generator())
        assert abs(drawn.flip.float().mean() - 0.3) < 0.02 and abs((drawn.bottom > 0).float().mean() - 0.2) < 0.02
        assert set(drawn.crop_top.tolist()) == set(range(21))

    def test_tiny_images_are_augmented_too(self):
        assert Augment(erase=1.0)(self.images[:, :, :1, :1], self.generator()).shape == (64, 3, 1, 1)

    def test_input_is_left_alone(self):
        before = self.images.clone()
        augmented(self.images, Drawn(*torch.ones(7, 64, dtype=torch.int64)), 10)
        assert torch.equal(self.images, before)


class TestClassBalanced:
    def test_batch_holds_ids_times_images(self):
        plan = class_balanced(LABELS, 3, 4, rng(), num_batches=20)
        assert plan.shape == (20, 12)
        for batch in plan:
            assert list(Counter(LABELS[batch].tolist()).values()) == [4, 4, 4]

    def test_images_repeat_only_where_there_are_too_few(self):
        for batch in class_balanced(LABELS, 3, 4, rng(), num_batches=50):
            for images in batch.reshape(3, 4):
                available = (LABELS == LABELS[images[0]]).sum()
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


class TestBatches:
    def test_batch_is_images_and_their_labels(self, cache: ImageCache):
        epoch = list(batches(cache)(0))
        assert len(epoch) == len(batches(cache)) == 5
        assert epoch[0].images.shape == (6, 3, 24, 12) and epoch[0].images.dtype == torch.float32
        assert epoch[0].labels.dtype == torch.int64 and epoch[0].teacher is None

    @pytest.mark.parametrize("sampling", [ClassBalanced(num_ids=3, images_per_id=2), Shuffled(batch_size=5)])
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
