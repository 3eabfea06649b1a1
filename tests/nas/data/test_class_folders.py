"""Folders of classes: what they must have, and batches that depend on seed, epoch and step alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.class_folders import ClassBatches, centre_crop, check_headers, hits, read_class_folders


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split, number in (("train", 5), ("val", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def test_labels_are_the_classes_in_order(root):
    data = read_class_folders(root)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5 and data.val.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("missing", "said"),
    [("val", '"val" is missing'), ("val/dog", "lacks 'dog'"), ("train/cat", "lacks 'cat'")],
)
def test_what_is_missing_is_named(root, missing, said):
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(ValueError, match=said):
        read_class_folders(root)


def test_one_class_is_refused(root):
    for split in ("train", "val"):
        (root / split / "dog").rename(root / f"{split}-dog")
    with pytest.raises(ValueError, match="at least two classes"):
        read_class_folders(root)


def test_an_unreadable_image_is_named(root):
    (root / "train/cat/3.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 images cannot be read.*3\.png"):
        check_headers(read_class_folders(root).train.images, workers=2)


def test_an_epoch_goes_on_at_any_step_and_processes_share_it(root):
    split = read_class_folders(root).train

    def batches(epoch, start=0, **place):
        return list(ClassBatches(split, 2, 16, seed=3, workers=2, **place)(epoch, start))

    whole = batches(1)
    assert len(whole) == 5 and whole[0].images.shape == (2, 3, 16, 16)
    assert sorted(label for batch in whole for label in batch.labels.tolist()) == [0] * 5 + [1] * 5
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[3:], batches(1, start=3), strict=True))
    assert not torch.equal(whole[0].images, batches(2)[0].images)
    shares = [batches(1, rank=rank, world_size=2) for rank in range(2)]
    assert all(torch.equal(shares[step % 2][step // 2].images, whole[step].images) for step in range(4))


def test_an_epoch_without_a_batch_is_refused(root):
    with pytest.raises(ValueError, match="at least 11 images"):
        ClassBatches(read_class_folders(root).train, 11, 16, seed=0)


def test_the_middle_is_a_square():
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    pixels[4:60, 20:76] = 255
    crop = centre_crop(Image.fromarray(pixels), 28)  # at its edge the filter sees beyond it
    assert (crop[1:-1, 1:-1] == 255).all() and (crop > 150).all()


def test_hits_among_one_and_five():
    logits = torch.arange(7.0).repeat(3, 1)
    assert hits(logits, torch.tensor([6, 2, 1])).tolist() == [1, 2]
