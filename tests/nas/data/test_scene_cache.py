"""Frames come out the same from memory and from their files, and their boxes move and are clipped with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.images import Files
from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scenes import SceneSplit

SIZE = SceneSize(short_side=32, long_side=50)


@pytest.fixture
def split(tmp_path: Path) -> SceneSplit:
    """Frames of 40x80, 90x60 and 64x48 pixels, of noise."""
    rng, paths = np.random.default_rng(0), []
    for number, (width, height) in enumerate([(40, 80), (90, 60), (64, 48)]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    boxes = ([[4, 8, 20, 40]], [[9, 6, 45, 30], [30, 6, 60, 60]], [])
    return SceneSplit(
        images=Files(tuple(paths)),
        boxes=tuple(np.array(some, dtype=float).reshape(-1, 4) for some in boxes),
        ids=tuple(np.arange(len(some)) for some in boxes),
    )


@pytest.mark.parametrize(
    ("width", "height", "scaled"),
    [(1920, 1080, (1000, 562)), (800, 600, (800, 600)), (60, 80, (600, 800)), (9, 1000, (9, 1000))],
)
def test_the_short_side_is_600_unless_the_long_one_is_then_above_1000(width: int, height: int, scaled: tuple[int, int]):
    assert SceneSize().scaled(width, height) == scaled


def test_frames_are_scaled_with_antialiasing_and_boxes_by_the_exact_ratio(split: SceneSplit):
    cache = SceneCache(split, SIZE)
    assert cache.scaled.tolist() == [[25, 50], [48, 32], [43, 32]]
    wanted = split.images.read(1).resize((48, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(cache.get(1).permute(1, 2, 0), np.asarray(wanted)) and cache.get(1).dtype == torch.uint8
    assert np.allclose(cache.boxes(0), [[4 * 25 / 40, 5, 12.5, 25]])
    assert np.allclose(cache.boxes(1)[0] / cache.ratio(1), [9, 6, 45, 30]) and cache.boxes(2).shape == (0, 4)


@pytest.mark.parametrize("num_kept", [0, 1, 2])
def test_memory_and_decoding_on_demand_agree(split: SceneSplit, num_kept: int, caplog: pytest.LogCaptureFixture):
    whole = SceneCache(split, SIZE)
    room = sum(whole.get(i).nbytes for i in range(num_kept)) / 2**30
    part = SceneCache(split, SceneSize(short_side=32, long_side=50, max_gib=room))
    assert all(torch.equal(whole.get(i), part.get(i)) for i in range(3))
    assert ("of 3 frames stay in memory" in caplog.text) == (num_kept > 0)
    if num_kept:
        assert f"{num_kept} of 3 frames" in caplog.text and "--images.max-gib" in caplog.text


@pytest.mark.parametrize("max_gib", [0.0, 1.0])
def test_taken_frames_are_those_of_the_whole(split: SceneSplit, max_gib: float):
    whole = SceneCache(split, SceneSize(short_side=32, long_side=50, max_gib=max_gib))
    taken = whole.take(np.array([2, 1])).take(np.array([1]))
    assert len(taken) == 1 and torch.equal(taken.get(0), whole.get(1))
    assert np.array_equal(taken.boxes(0), whole.boxes(1)) and taken.split.ids[0].tolist() == [0, 1]


def test_boxes_are_clipped_and_those_outside_left_out_with_a_count(split: SceneSplit):
    boxes = np.array([[-3, 5, 10, 90], [60, 5, 70, 20], [1, 1, 5, 5]], dtype=float)
    split = SceneSplit(images=split.images, boxes=(boxes, *split.boxes[1:]), ids=(np.arange(3), *split.ids[1:]))
    with pytest.warns(UserWarning, match="boxes") as warned:
        cache = SceneCache(split, SIZE)
    said = sorted(str(one.message) for one in warned)
    assert "1 boxes outside their frames are left out" in said[0] and "0.png: [60.0, 5.0, 70.0, 20.0]" in said[0]
    assert "1 boxes that reach out of their frames are clipped" in said[1]
    assert cache.split.boxes[0].tolist() == [[0, 5, 10, 80], [1, 1, 5, 5]] and cache.split.ids[0].tolist() == [0, 2]


def test_unreadable_frames_are_named_together(split: SceneSplit):
    for number in (0, 2):
        Path(split.images.name(number)).write_bytes(b"")
    with pytest.raises(ValueError, match=r"every image must be readable.*0.png.*2.png.*take them out of the lists"):
        SceneCache(split, SIZE)


def test_progress_counts_up_to_all(split: SceneSplit):
    seen = []
    SceneCache(split, SIZE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_short_side_is_the_shorter():
    with pytest.raises(ValueError, match=r"SceneSize.short_side must be at most long_side \(600\), not 900"):
        SceneSize(short_side=900, long_side=600)
