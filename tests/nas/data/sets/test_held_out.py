"""Held-out identities: nothing of them is trained on, the test set is not looked at, and each query has a match."""

from pathlib import Path

import numpy as np
import pytest

from nas.data.base import ReIDData, Split
from nas.data.images import Files
from nas.data.sets.held_out import HeldOut, held_out
from nas.data.sets.pedestrians import Pedestrians
from nas.data.source import DataSource
from nas.system.config import decode, encode


def split(name, ids, cameras):
    files = Files(tuple(Path(f"{name}{i}.png") for i in range(len(ids))))
    return Split(images=files, ids=np.array(ids), cameras=None if cameras is None else np.array(cameras))


def data(ids, cameras):
    test = split("test", [90, 91], None if cameras is None else [0, 1])
    return ReIDData(name="D", train=split("train", ids, cameras), query=test, gallery=test)


def names(part):
    return {part.images.name(i) for i in range(len(part))}


@pytest.mark.parametrize("seed", range(5))
def test_every_image_has_one_part_and_every_query_a_match_from_another_camera(seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 12, 150)
    whole = data(ids, rng.integers(-1, 4, 150))
    parts = held_out(whole, 0.4, rng)
    train, query, gallery = (names(part) for part in parts.splits.values())
    assert train | query | gallery == names(whole.train) and not (train & query or train & gallery or query & gallery)
    assert len(np.unique(parts.query.ids)) == round(0.4 * len(np.unique(ids)))
    assert not set(parts.train.ids) & set(parts.gallery.ids)
    for identity, camera in zip(parts.query.ids, parts.query.cameras, strict=True):
        others = parts.gallery.cameras[parts.gallery.ids == identity]
        assert camera >= 0 and ((others >= 0) & (others != camera)).any()


def test_one_query_for_each_camera_but_one():
    ids, cameras = np.repeat(np.arange(4), 9), np.tile(np.repeat(np.arange(3), 3), 4)
    parts = held_out(data(ids, cameras), 0.5, np.random.default_rng(0))
    assert [len(np.unique(parts.query.cameras[parts.query.ids == i])) for i in np.unique(parts.query.ids)] == [2, 2]
    assert len(parts.query) == 4 and len(parts.gallery) == 2 * 9 - 4


def test_without_cameras_an_identity_has_one_gallery_image():
    parts = held_out(data(np.repeat(np.arange(6), 5), None), 0.5, np.random.default_rng(0))
    assert np.unique(parts.gallery.ids, return_counts=True)[1].tolist() == [1, 1, 1]
    assert len(parts.query) == 12


def test_an_identity_that_one_camera_sees_is_never_held_out():
    ids, cameras = np.repeat(np.arange(8), 4), np.repeat([0, 1, 0, 1, 0, 1, 0, 1], 4)
    cameras[:8] = [0, 1, 0, 1, 1, 0, 1, 0]  # two identities are seen by two
    parts = held_out(data(ids, cameras), 0.25, np.random.default_rng(0))
    assert set(parts.query.ids) == {0, 1}
    with pytest.raises(ValueError, match="0.5 of its training identities are 4, and 2 to 2 can be held out"):
        held_out(data(ids, cameras), 0.5, np.random.default_rng(0))


def test_a_source_that_a_recipe_can_hold():
    source = HeldOut(source=Pedestrians(num_train_ids=10, num_test_ids=4, num_cameras=2, images_per_id=4), seed=1)
    assert decode(encode(source), DataSource) == source
    first, again, other = source.load(), source.load(), HeldOut(source=source.source, seed=2).load()
    assert len(first.identities) == 8 and first.identities == again.identities != other.identities
    assert not names(first.gallery) & names(source.source.load().gallery)
