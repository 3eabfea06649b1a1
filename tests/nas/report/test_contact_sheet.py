"""A contact sheet shows identities of both halves, from as many cameras as there are, whatever the images are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from nas.data.base import ReIDData, Split
from nas.data.images import Files
from nas.data.sets.pedestrians import Pedestrians
from nas.report import strips
from nas.report.contact_sheet import contact_sheet, drawn_identities, over_cameras, tile_size, tiles

DATA = Pedestrians(num_train_ids=3, num_test_ids=2, num_cameras=2, images_per_id=4, height=16, width=8).listed()


def sheet(data: ReIDData, seed: int = 0, **how: int) -> Image.Image:
    return contact_sheet(data, np.random.default_rng(seed), **how)


def split_of(cameras: list[int] | None, num: int = 6) -> Split:
    cameras = None if cameras is None else np.array(cameras)
    return Split(images=Files((Path("nowhere.jpg"),) * num), ids=np.zeros(num, dtype=np.int64), cameras=cameras)


def test_the_same_seed_draws_the_same_sheet_and_another_seed_another():
    assert sheet(DATA).tobytes() == sheet(DATA).tobytes()
    assert sheet(DATA, num_identities=2).tobytes() != sheet(DATA, seed=1, num_identities=2).tobytes()


def test_identities_are_drawn_among_all_but_junk():
    split = Split(images=split_of(None, 24).images, ids=np.maximum(np.arange(24) - 4, -1))
    drawn = [drawn_identities(split, 5, np.random.default_rng(seed)) for seed in range(30)]
    assert set().union(*drawn) == set(range(20)) and all(len(set(one)) == 5 for one in drawn)


def test_more_identities_make_it_taller_and_more_images_wider():
    small, tall, wide = sheet(DATA, num_identities=1), sheet(DATA, num_identities=3), sheet(DATA, num_images=12)
    assert tall.height > small.height and tall.width == small.width
    assert wide.width > tall.width and wide.height == tall.height


def test_images_are_taken_from_each_camera_in_turn():
    split = split_of([5, 5, 5, 5, 2, 9])
    assert over_cameras(split.cameras, np.arange(6), 3).tolist() == [4, 0, 5]
    assert over_cameras(split.cameras, np.arange(6)[::-1], 4).tolist() == [4, 3, 2, 5]
    assert over_cameras(split.cameras, np.arange(6), 20).tolist() == [4, 0, 1, 2, 3, 5]
    assert over_cameras(None, np.array([3, 1, 2]), 2).tolist() == [3, 1]


def test_captions_name_the_camera_and_the_query():
    def captions(split: Split, is_query: bool) -> list[str]:
        return [tile.caption for tile in tiles(split, 0, 2, np.random.default_rng(0), is_query)]

    assert captions(split_of([5, 5, 5, 5, 2, 2]), is_query=False) == ["camera 2", "camera 5"]
    assert captions(split_of([5, 5, 5, 5, 2, 2]), is_query=True) == ["query, camera 2", "query, camera 5"]
    assert captions(split_of(None), is_query=True) == ["query", "query"]


def test_queries_have_a_frame_and_training_images_none():
    frame = ImageColor.getrgb(strips.QUERY)
    whole = np.asarray(sheet(DATA))
    left, right = np.array_split(whole, 2, axis=1)
    assert (right == frame).all(axis=2).sum() > 4 * 4 * 96 > 10 > (left == frame).all(axis=2).sum()


def test_tiles_have_the_images_shape_and_all_the_same_area():
    for size in ((64, 128), (128, 128), (200, 150)):
        width, height = tile_size([Image.new("RGB", size)] * 3 + [None])
        assert width / height == pytest.approx(size[0] / size[1], rel=0.02)
        assert width * height == pytest.approx(96 * 192, rel=0.02)
    assert tile_size([]) == tile_size([None]) == (96, 192)
    assert max(tile_size([Image.new("RGB", (1, 5000))])) < 300


def test_images_that_cannot_be_read_are_crossed_out():
    broken = split_of([1, 2, 1, 2, 1, 2])
    data = ReIDData(name="broken", train=broken, query=broken, gallery=broken)
    assert all(tile.image is None for tile in tiles(broken, 0, 6, np.random.default_rng(0)))
    assert sheet(data).size == sheet(data, seed=1).size


def test_nothing_to_show_still_gives_a_sheet():
    nothing = split_of([], num=0)
    assert sheet(ReIDData(name="nothing", train=nothing, query=nothing, gallery=nothing)).height > 100
