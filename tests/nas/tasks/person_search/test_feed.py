"""Batches of scenes are pure functions of seed, epoch and step; boxes go with what happens to the frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.data.augment import SceneAugment, normalise
from nas.data.sampling import bucketed
from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scenes import labels_of
from nas.data.sets.street import Street
from nas.tasks.person_search.feed import SceneBatches, cached, scenes_of

DATA = Street(num_train_scenes=7, num_test_scenes=2, num_train_ids=4, num_test_ids=3, height=48, width=72).load()


@pytest.fixture(scope="module")
def cache() -> SceneCache:
    return SceneCache(DATA.train, SceneSize(short_side=40, long_side=80))


def batches(cache: SceneCache, flip: float = 0.5, **others) -> SceneBatches:
    return SceneBatches(cache, DATA.identities, 2, SceneAugment(flip=flip), seed=3, **others)


def same(one, other) -> bool:
    mine, others = ([*each.images[:2], *each.images.boxes, each.labels] for each in (one, other))
    return one.images.seed == other.images.seed and all(map(torch.equal, mine, others))


def test_frames_are_normalised_padded_and_have_their_boxes_and_labels(cache: SceneCache):
    (first, *_) = batches(cache, flip=0.0, indices=np.array([5, 5]))(0)
    scenes = first.images
    assert scenes.shape == (2, 3, 64, 64) and scenes.sizes.tolist() == [[40, 60]] * 2
    assert torch.equal(scenes.tensors[0, :, :40, :60], normalise(cache.get(5)[None])[0])
    assert not scenes.tensors[:, :, 40:].any() and not scenes.tensors[:, :, :, 60:].any()
    assert np.allclose(scenes.boxes[0], cache.boxes(5)) and scenes.boxes[0].dtype == torch.float32
    own = labels_of(DATA.train.ids, DATA.identities)[5].tolist()
    assert scenes.labels[0].tolist() == own and scenes.labels[0].dtype == torch.int64
    assert first.labels.tolist() == own * 2


def test_mirroring_takes_boxes_along(cache: SceneCache):
    (plain,), (flipped,) = (batches(cache, flip=flip, indices=np.array([2, 4]))(1) for flip in (0.0, 1.0))
    width = 60
    for a, b in zip(plain.images.tensors, flipped.images.tensors, strict=True):
        assert torch.equal(a[:, :, :width], b[:, :, :width].flip(2))
    for a, b in zip(plain.images.boxes, flipped.images.boxes, strict=True):
        assert torch.allclose(b[:, [0, 2]], width - a[:, [2, 0]]) and torch.equal(a[:, [1, 3]], b[:, [1, 3]])


def test_a_batch_is_the_same_wherever_the_epoch_begins_and_whoever_prepares_it(cache: SceneCache):
    whole = list(batches(cache)(4))
    assert len(whole) == len(batches(cache)) == 3
    assert all(map(same, batches(cache, num_prefetch=0)(4, start=1), whole[1:]))
    assert not same(next(batches(cache)(5)), whole[0])
    assert len({one.images.seed for one in whole}) == 3


def test_ranks_take_the_batches_in_turn(cache: SceneCache):
    whole = list(batches(cache)(0))
    for rank in (0, 1):
        (mine,) = batches(cache, rank=rank, world_size=2)(0)
        assert same(mine, whole[rank])
    with pytest.raises(ValueError, match="4 processes need a batch each"):
        batches(cache, world_size=4)


class TestPairs:
    def test_beside_each_frame_is_another_one_with_the_same_person(self, cache: SceneCache):
        own = batches(cache, flip=0.0, pairs_per_id=2)
        labels = labels_of(DATA.train.ids, DATA.identities)
        for batch in own(0):
            scenes, query = batch.images, batch.images.query
            for image, who in enumerate(query.labels.tolist()):
                (frame,) = [
                    i
                    for i in range(len(cache))
                    if np.array_equal(cache.boxes(i).astype(np.float32), scenes.boxes[image])
                ]
                (asked,) = [
                    i
                    for i in range(len(cache))
                    for box in cache.boxes(i)[labels[i] == who]
                    if np.allclose(box, query.boxes[image])
                ]
                assert who in labels[frame] and asked != frame
                height, width = cache.get(asked).shape[1:]
                pixels = query.tensors[image, :, :height, :width]
                assert torch.equal(pixels, normalise(cache.get(asked)[None])[0])
        assert query.boxes.dtype == torch.float32 and query.labels.dtype == torch.int64

    def test_mirroring_takes_the_querys_box_along(self, cache: SceneCache):
        plain, flipped = (next(batches(cache, flip=flip, pairs_per_id=2)(1)).images.query for flip in (0.0, 1.0))
        width = 60
        assert torch.equal(plain.tensors[:, :, :, :width], flipped.tensors[:, :, :, :width].flip(3))
        assert torch.allclose(flipped.boxes[:, [0, 2]], width - plain.boxes[:, [2, 0]])

    def test_a_batch_is_the_same_wherever_the_epoch_begins_and_other_epochs_have_other_pairs(self, cache: SceneCache):
        own = batches(cache, pairs_per_id=2)
        whole, later = list(own(4)), list(batches(cache, num_prefetch=0, pairs_per_id=2)(4, start=2))
        assert len(whole) == len(own) == 4 * 2 // 2
        for one, other in zip(later, whole[2:], strict=True):
            assert same(one, other) and all(map(torch.equal, one.images.query, other.images.query))
        assert not torch.equal(next(own(5)).images.query.tensors, whole[0].images.query.tensors)
        ranks = [next(batches(cache, pairs_per_id=2, rank=rank, world_size=2)(4)) for rank in (0, 1)]
        assert all(map(same, ranks, whole))

    def test_some_frames_are_paired_among_themselves(self, cache: SceneCache):
        chosen = np.array([1, 3, 4, 6])
        own = batches(cache, flip=0.0, indices=chosen, pairs_per_id=9)
        shown = {tuple(boxes.ravel().tolist()) for batch in own(0) for boxes in batch.images.boxes}
        assert shown <= {tuple(cache.boxes(i).astype(np.float32).ravel().tolist()) for i in chosen}
        assert len(shown) > 1


def test_too_large_a_batch_says_how_large_it_may_be(cache: SceneCache):
    with pytest.raises(ValueError, match="set batch_size to at most 7"):
        SceneBatches(cache, DATA.identities, 8, SceneAugment(), seed=0)


def test_boxes_that_are_all_outside_are_refused(cache: SceneCache):
    outside = replace(DATA.train, boxes=tuple(boxes + 900 for boxes in DATA.train.boxes))
    with (
        pytest.warns(UserWarning, match="boxes outside their frames"),
        pytest.raises(ValueError, match=r"none of the \d+ boxes is in its frame, the first one, \[9"),
    ):
        cached(outside, cache.size)


def test_labels_are_those_of_the_boxes_that_the_cache_has(cache: SceneCache):
    outside = tuple(np.concatenate([[[900.0, 5, 910, 20]], boxes]) for boxes in DATA.train.boxes)
    ids = tuple(np.concatenate([[DATA.identities[0]], ids]) for ids in DATA.train.ids)
    with pytest.warns(UserWarning, match="7 boxes outside their frames"):
        clipped = SceneCache(replace(DATA.train, boxes=outside, ids=ids), cache.size)
    assert all(map(same, batches(clipped)(0), batches(cache)(0)))


def test_a_batch_is_as_large_as_its_largest_frame():
    frames = [torch.ones(3, 20, 70, dtype=torch.uint8), torch.ones(3, 40, 10, dtype=torch.uint8)]
    scenes = scenes_of(frames, [np.empty((0, 4)), np.array([[1, 2, 3, 4]])], [np.empty(0), np.array([-1])])
    assert scenes.shape == (2, 3, 64, 96) and scenes.sizes.tolist() == [[20, 70], [40, 10]]
    assert scenes.boxes[0].shape == (0, 4) and scenes.labels[1].tolist() == [-1]


class TestBucketed:
    def test_frames_of_one_shape_come_together(self):
        shapes = np.array([[1, 2]] * 9 + [[2, 1]] * 7)
        plan = bucketed(shapes, 4, np.random.default_rng(0))
        assert plan.shape == (4, 4) and len(set(plan.ravel().tolist())) == 16
        mixed = sum(len(np.unique(shapes[batch], axis=0)) > 1 for batch in plan)
        assert mixed == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_only_what_fills_no_batch_is_left_out(self, seed: int):
        rng = np.random.default_rng(seed)
        shapes = rng.integers(1, 4, (23, 2))
        plan = bucketed(shapes, 5, rng)
        assert plan.shape == (4, 5) and len(set(plan.ravel().tolist())) == 20

    def test_batches_of_a_shape_are_not_in_a_row(self):
        shapes = np.array([[1, 2]] * 40 + [[2, 1]] * 40)
        plan = bucketed(shapes, 4, np.random.default_rng(0))
        kinds = shapes[plan[:, 0], 0].tolist()
        assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))
