"""Images come out the same from memory and from their files, and as many are kept as there is memory for."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import cache as cache_module
from nas.data.base import Split
from nas.data.cache import ImageCache
from nas.data.images import Files
from nas.data.sets.pedestrians import Pedestrians

SOURCE = Pedestrians(num_train_ids=6, num_test_ids=1, images_per_id=5, height=32, width=16)
EACH = 3 * 24 * 12


class Counted:
    """Images that count how often each is decoded."""

    def __init__(self, num_images: int, always_readable: bool) -> None:
        self.always_readable = always_readable
        self.reads = [0] * num_images

    def __len__(self) -> int:
        return len(self.reads)

    def read(self, i: int) -> Image.Image:
        self.reads[i] += 1
        return Image.new("RGB", (12, 24), (i, 0, 0))

    def name(self, i: int) -> str:
        return str(i)


def counted(num_images: int = 10, always_readable: bool = False) -> tuple[Counted, Split]:
    images = Counted(num_images, always_readable)
    return images, Split(images=images, ids=np.zeros(num_images, dtype=np.int64))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    """Makes a machine's free memory so small that, after the headroom, it holds a number of the images here."""
    return lambda num_images: monkeypatch.setattr(
        cache_module, "spare_bytes", lambda: num_images * EACH / cache_module.SHARE
    )


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    return ImageCache(SOURCE.load().train, 24, 12)


@pytest.mark.parametrize("num_threads", [1, 3, 8])
@pytest.mark.parametrize("num_kept", [0, 4, 5])
def test_memory_and_decoding_on_demand_agree(cache: ImageCache, num_kept: int, num_threads: int):
    part = ImageCache(SOURCE.load().train, 24, 12, max_gib=num_kept * EACH / 2**30, num_threads=num_threads)
    indices = np.array([4, 0, 29, 4])
    assert cache.get(indices).shape == (4, 3, 24, 12) and cache.get(indices).dtype == torch.uint8
    assert torch.equal(cache.get(indices), part.get(indices))


def test_image_is_resized_with_antialiasing(cache: ImageCache):
    image = SOURCE.load().train.images.read(3).resize((12, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(cache.get(np.array([3]))[0].permute(1, 2, 0).numpy(), np.asarray(image))


def test_image_of_the_right_size_is_untouched():
    train = SOURCE.load().train
    assert np.array_equal(ImageCache(train, 32, 16).get([2])[0].permute(1, 2, 0), np.asarray(train.images.read(2)))


def test_progress_counts_up_to_all():
    seen = []
    ImageCache(SOURCE.load().query, 24, 12, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("num_kept", "always_readable"), [(10, False), (6, False), (6, True)])
def test_every_image_that_may_fail_is_decoded_once_and_kept_ones_never_again(
    free, num_kept: int, always_readable: bool
):
    free(num_kept)
    images, split = counted(always_readable=always_readable)
    part = ImageCache(split, 24, 12)
    assert images.reads == [1] * num_kept + [0 if always_readable else 1] * (10 - num_kept)
    images.reads = [0] * 10
    assert part.get(np.arange(10))[:, 0, 0, 0].tolist() == list(range(10))
    assert images.reads == [0] * num_kept + [1] * (10 - num_kept)


def test_nothing_is_said_when_all_fit(free, caplog: pytest.LogCaptureFixture):
    free(10)
    ImageCache(counted()[1], 24, 12)
    assert not caplog.records


def test_free_memory_that_does_not_suffice_is_told_in_one_line(free, caplog: pytest.LogCaptureFixture):
    free(6)
    ImageCache(counted()[1], 24, 12)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.text.count("\n") == 1
    assert "6 of 10 images stay in memory at 24x12" in caplog.text and "the free memory" in caplog.text


def test_processes_share_the_free_memory(free, caplog: pytest.LogCaptureFixture):
    free(10)
    ImageCache(counted()[1], 24, 12, num_processes=2)
    assert "5 of 10 images" in caplog.text


def test_the_users_bound_is_named_where_it_decides(free, caplog: pytest.LogCaptureFixture):
    free(8)
    ImageCache(counted()[1], 24, 12, max_gib=3 * EACH / 2**30)
    assert "3 of 10 images" in caplog.text and "--images.max-gib" in caplog.text


def test_unreadable_image_behind_the_kept_ones_is_found_too(free, tmp_path: Path):
    free(1)
    Image.new("RGB", (12, 24)).save(tmp_path / "a.png")
    paths = (tmp_path / "a.png", tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"gone.png.*\"skip\""):
        ImageCache(Split(images=Files(paths), ids=np.zeros(2, dtype=np.int64)), 24, 12)


def test_nothing_is_said_where_no_memory_was_wanted(caplog: pytest.LogCaptureFixture):
    ImageCache(counted()[1], 24, 12, max_gib=0)
    assert not caplog.records
