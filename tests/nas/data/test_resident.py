"""Batches of images that lie on a device are those that the CPU makes."""

import numpy as np
import pytest
import torch

from nas.data.augment import Augment, Sampled, augmented
from nas.data.batches import Batches
from nas.data.cache import CachePart, ImageCache
from nas.data.resident import Resident
from nas.data.sampling import Shuffled
from nas.data.sets.pedestrians import Pedestrians
from tests.pretend import CUDA, PretendedGPU

CPU, META = torch.device("cpu"), torch.device("meta")
SOURCE = Pedestrians(num_train_ids=6, num_test_ids=1, images_per_id=5, height=32, width=16)
AUGMENTS = [
    Augment(),
    Augment(crop_padding=0),
    Augment(crop_padding=0, erase=1.0),
    Augment(flip=1, erase=0.5),
    Augment(crop_padding=40, erase=1.0),
]


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    return ImageCache(SOURCE.load().train, 24, 12)


def resident(cache: ImageCache, device: torch.device = CPU) -> Resident:
    return Resident(cache.get(np.arange(len(cache))), device)


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
def test_gathering_equals_copying_windows(augment: Augment):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 24, 12), dtype=torch.uint8, generator=rng)
    sampled, chosen = augment.sample(64, 24, 12, rng), torch.randint(40, (64,), generator=rng)
    found = Resident(images, CPU).augmented(chosen, sampled, augment.crop_padding)
    expected = augmented(images[chosen], sampled, augment.crop_padding)
    torch.testing.assert_close(found, expected, rtol=0, atol=2.4e-7)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
def test_batches_are_those_without_it(cache: ImageCache, augment: Augment):
    plain, there = (Batches(cache, SOURCE.load().train_labels, Shuffled(batch_size=7), augment, 3) for _ in range(2))
    there.resident = resident(cache)
    for expected, found in zip(plain(1), there(1), strict=True):
        torch.testing.assert_close(found.images, expected.images, rtol=0, atol=2.4e-7)
        assert torch.equal(found.labels, expected.labels)
        assert expected.views is None if found.views is None else torch.equal(found.views, expected.views)


def test_images_are_those_of_the_cache(cache: ImageCache):
    chosen = np.array([3, 0, 29, 3])
    assert torch.equal(resident(cache).get(torch.as_tensor(chosen)), cache.get(chosen))


def test_a_batch_needs_no_number_on_the_host(cache: ImageCache):
    """On the meta device there are none: whoever asks for one fails."""
    nothing = Sampled(*torch.zeros(7, 5, dtype=torch.int64, device=META))
    found = resident(cache, META).augmented(torch.zeros(5, dtype=torch.int64, device=META), nothing, 10)
    assert found.is_meta and found.shape == (5, 3, 24, 12)


class TestWhereItFits:
    def asked(self, monkeypatch, cache: ImageCache, free: int) -> Resident | None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
        return Resident.where_it_fits(cache.get(np.arange(len(cache))), CPU)

    def test_images_that_fit_stay(self, monkeypatch, cache: ImageCache, capsys):
        assert self.asked(monkeypatch, cache, 10**9) is not None
        assert "30 decoded images stay on the GPU: 0.0 GiB" in capsys.readouterr().err

    def test_others_do_not(self, monkeypatch, cache: ImageCache, capsys):
        assert self.asked(monkeypatch, cache, 10_000) is None
        assert "stay in the host's memory" in capsys.readouterr().err

    def test_the_cpu_has_them_already(self, cache: ImageCache):
        assert cache.resident(CPU) is None

    def test_a_gpu_is_asked_once_and_for_all_images_alone(self, monkeypatch, cache: ImageCache):
        asked = []
        monkeypatch.setattr(Resident, "where_it_fits", lambda images, device: asked.append(len(images)))
        cuda, some = torch.device("cuda:0"), ImageCache(SOURCE.load().train, 24, 12, max_gib=0)
        for each in (cache, cache, some):
            each.resident(cuda)
        assert asked == [30]


def test_a_cache_gives_images_on_a_device_from_there(monkeypatch, cache: ImageCache):
    there = resident(cache)
    monkeypatch.setattr(cache, "resident", lambda device: there)
    part, chosen = CachePart(cache, np.arange(10, 20)), np.array([1, 4])
    assert torch.equal(part.get(chosen), cache._read(np.array([11, 14])))


@pytest.mark.parametrize("free", [10**9, 0], ids=["resident", "sent"])
def test_batches_on_a_gpu_are_those_of_the_cpu(monkeypatch, free):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    cache, labels = ImageCache(SOURCE.load().train, 24, 12), SOURCE.load().train_labels
    how = (cache, labels, Shuffled(batch_size=7), Augment(erase=0.5), 3)
    expected = list(Batches(*how)(1))
    with PretendedGPU() as gpu:
        batches = Batches(*how, CUDA, num_prefetch=0)
        assert (batches.resident is not None) == bool(free)
        for found, wanted in zip(batches(1), expected, strict=True):
            assert found.images.device == found.labels.device == CUDA
            torch.testing.assert_close(found.images.inner, wanted.images, rtol=0, atol=2.4e-7)
            assert torch.equal(found.labels.inner, wanted.labels)
    assert gpu.num_waits == 0
