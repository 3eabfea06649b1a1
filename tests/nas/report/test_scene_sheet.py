"""A sheet of scenes shows identities in frames of all cameras, their boxes on top."""

import numpy as np
from PIL import Image

from nas.data.sets.street import Street
from nas.report.scene_sheet import OWN, marked, tiles

STREET = Street(num_train_scenes=8, num_test_scenes=3, num_train_ids=4, num_test_ids=3, height=48, width=72)


def test_frames_of_an_identity_come_from_all_cameras_the_query_first():
    data = STREET.load()
    train = tiles(data.train, 1, 4, np.random.default_rng(0))
    assert [tile.caption for tile in train] == [f"camera {camera}" for camera in range(4)]
    first, *rest = tiles(data.test, 4, 4, np.random.default_rng(0), query=2)
    assert first.caption == "query, camera 2" and first.is_query and not any(tile.is_query for tile in rest)
    assert [tile.caption for tile in rest] == ["camera 0", "camera 1"]


def test_the_box_of_the_identity_lies_on_top():
    image = marked(Image.new("RGB", (20, 20)), np.array([[2, 2, 9, 9], [2, 2, 9, 9]]), np.array([5, -1]), 5)
    assert image.getpixel((2, 5)) == tuple(bytes.fromhex(OWN[1:]))
