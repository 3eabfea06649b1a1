"""Streets are pure functions of their fields, and everybody in them has a box and can be seen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from nas.data.sets.street import Street
from nas.data.synthetic.camera import SUPERSAMPLED

STREET = Street(num_train_scenes=8, num_test_scenes=6, num_train_ids=6, num_test_ids=4, height=64, width=96)


@pytest.fixture(scope="module")
def scenes():
    return STREET.load().train.images


def test_a_scene_is_the_same_in_any_order_and_number(scenes):
    longer = replace(STREET, num_train_scenes=10).load().train
    assert longer.images.read(7).tobytes() == scenes.read(7).tobytes() != scenes.read(6).tobytes()
    assert longer.ids[7].tolist() == STREET.load().train.ids[7].tolist()
    assert longer.boxes[7].tolist() == STREET.load().train.boxes[7].tolist()
    assert replace(STREET, seed=1).load().train.images.read(7).tobytes() != scenes.read(7).tobytes()


def test_identities_come_in_rounds_and_nobody_twice():
    train = STREET.load().train
    known = [ids[ids >= 0].tolist() for ids in train.ids]
    assert all(len(set(some)) == len(some) == 3 for some in known)
    assert set(Counter(one for some in known for one in some).values()) == {4}
    assert 0 <= min(len(ids) for ids in train.ids) - 3 <= max(len(ids) for ids in train.ids) - 3 <= 2


def test_training_and_test_are_apart_and_every_known_test_box_is_a_query():
    data = STREET.load()
    assert data.counts()["shared_identities"] == 0 and data.test.all_boxes.ids.max() == 9
    assert len(data.queries) == 3 * 6 and data.test.cameras.tolist() == [0, 1, 2, 3, 0, 1]


def test_a_box_is_tight_around_its_person_and_a_quarter_is_visible(scenes):
    for i in range(len(scenes)):
        hidden = np.zeros((64 * SUPERSAMPLED, 96 * SUPERSAMPLED), dtype=bool)
        for one in sorted(scenes.placed(i), key=lambda one: -one.size):
            x1, y1, x2, y2 = one.box.astype(int)
            inside = np.zeros_like(one.mask)
            inside[y1:y2, x1:x2] = True
            assert not (one.mask & ~inside).any()
            assert all(edge.any() for edge in (one.mask[y1], one.mask[y2 - 1], one.mask[:, x1], one.mask[:, x2 - 1]))
            assert (one.mask & ~hidden).sum() >= 0.25 * one.num_pixels
            hidden |= one.mask


def test_a_person_is_where_the_box_is(scenes):
    """Without the person the picture is another one inside the box and nearly the same elsewhere (shadow, noise)."""
    camera, placed = scenes.camera(0), scenes.placed(0)
    with_all, without = (
        np.asarray(camera.scene(some, np.random.default_rng(0), 64, 96), dtype=int) for some in (placed, placed[1:])
    )
    x1, y1, x2, y2 = np.rint(placed[0].box / SUPERSAMPLED).astype(int)
    changed = np.abs(with_all - without).max(axis=2) > 40
    inside = np.zeros_like(changed)
    inside[max(0, y1 - 2) : y2 + 3, max(0, x1 - 2) : x2 + 3] = True
    assert changed[inside].mean() > 0.1 > 10 * changed[~inside].mean()


def test_light_leaves_everybody_visible():
    for seed in range(3):
        images = Street(seed=seed, num_train_scenes=4, num_test_scenes=2, height=64, width=96).load().train.images
        for i in range(4):
            pixels = np.asarray(images.read(i))
            assert 15 < pixels.mean() < 225 and (pixels.min(axis=2) >= 250).mean() < 0.3


def test_there_are_as_many_identities_as_a_scene_has():
    with pytest.raises(ValueError, match=r"Street.num_train_ids must be at least ids_per_scene \(3\), not 2"):
        replace(STREET, num_train_ids=2)


def test_more_people_than_find_room_are_an_error():
    crowd = Street(ids_per_scene=40, num_train_ids=40, num_test_ids=40, num_train_scenes=1, height=48, width=48)
    with pytest.raises(ValueError, match="people find no room in a scene of 48x48: take fewer"):
        crowd.load()
