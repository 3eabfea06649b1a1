"""Frames are halved and held out so that no query's identity is trained on."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from nas.data.scene_splits import HeldOutScenes, by_frame, findable, held_out, queries_among
from nas.data.sets.street import Street

STREET = Street(num_train_scenes=24, num_test_scenes=2, num_train_ids=8, num_test_ids=3, height=48, width=96)


@pytest.mark.parametrize("num_frames", [2, 7])
def test_halves_are_apart_and_hold_all_frames(num_frames: int):
    train, val = by_frame(num_frames, np.random.default_rng(0))
    assert sorted([*train, *val]) == list(range(num_frames)) and 0 <= len(train) - len(val) <= 1
    assert train.tolist() == sorted(train) and val.tolist() == sorted(val)


def test_findable_are_those_in_two_frames():
    train = STREET.load().train.take(np.arange(5))
    seen = Counter(one for ids in train.ids for one in set(ids.tolist()) if one >= 0)
    assert findable(train).tolist() == sorted(one for one, number in seen.items() if number > 1)


def test_an_identity_twice_in_one_frame_only_is_not_findable():
    train = STREET.load().train.take(np.array([0]))
    twice = replace(train, ids=(np.full(len(train.ids[0]), 5),))
    assert findable(twice).tolist() == []


def test_queries_are_a_box_from_each_camera():
    train = STREET.load().train
    queries = queries_among(train, [2, 5], np.random.default_rng(0))
    for one in (2, 5):
        frames = queries.frames[queries.ids == one]
        expected = {train.cameras[i] for i, ids in enumerate(train.ids) if one in ids}
        assert sorted(train.cameras[frames]) == sorted(expected)
    for frame, box, one in zip(queries.frames, queries.boxes, queries.ids, strict=True):
        assert box.tolist() in train.boxes[frame][train.ids[frame] == one].tolist()


def test_held_out_identities_are_nobody_in_training():
    whole, held = STREET.load(), HeldOutScenes(source=STREET, share=0.25).load()
    assert (len(held.train), len(held.test)) == (18, 6)
    names = [split.images.name(i) for split in held.splits.values() for i in range(len(split))]
    assert sorted(names) == sorted(whole.train.images.name(i) for i in range(24))
    asked = set(held.queries.ids.tolist())
    assert len(asked) == 2 and not asked & set(held.identities) and asked | set(held.identities) == set(range(8))
    assert held.train.all_boxes.ids.min() == -1 and len(held.train.all_boxes.ids) + len(held.test.all_boxes.ids) == len(
        whole.train.all_boxes.ids
    )
    for i in range(len(held.queries)):
        gallery = held.queries.gallery(i, len(held.test))
        assert any(held.queries.ids[i] in held.test.ids[frame] for frame in gallery)


def test_the_seed_decides_which():
    names = [HeldOutScenes(source=STREET, seed=seed).load().test.images.name(0) for seed in range(5)]
    assert len(set(names)) > 1 and names[0] == HeldOutScenes(source=STREET, seed=0).load().test.images.name(0)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_too_small_a_share_says_what_can_be_held_out(share: float):
    with pytest.raises(ValueError, match=r"of its training identities are .* can be looked .* change --held-out"):
        held_out(STREET.load(), share, np.random.default_rng(0))
