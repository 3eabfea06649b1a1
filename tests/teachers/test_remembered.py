"""What a teacher said of each view is what it says of a batch, to the bit."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from nas.data.augment import Augment
from nas.data.batches import Batches
from nas.data.cache import ImageCache
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from search_spaces.resnet import ResNet
from students.reid import ReID, TeacherOutput
from teachers.remembered import RememberedTeacher, answers_of
from teachers.teacher import Teacher, with_teacher

MIRRORED = Augment(crop_padding=0)


@pytest.fixture(scope="module")
def data():
    return Pedestrians(num_train_ids=5, num_test_ids=2, images_per_id=3, num_cameras=2, height=32, width=16).load()


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    net = ReID(backbone=ResNet(depth=18, width=1 / 16), num_ids=5, embedding_dim=8).student()
    return Teacher(net.to(memory_format=torch.channels_last), nullcontext)


def batches(data, augment=MIRRORED, images_per_id=2, **how):
    sampling = ClassBalanced(num_ids=2, images_per_id=images_per_id)
    return Batches(ImageCache(data.train, 32, 16), data.train_labels, sampling, augment, 3, **how)


@pytest.mark.parametrize("images_per_id", [2, 4], ids=["30 views in blocks of 4", "in blocks of 8"])
def test_known_answers_are_the_teachers_own(data, teacher, images_per_id):
    drawn = batches(data, images_per_id=images_per_id)
    answers = answers_of(teacher, drawn.views(), drawn.num_views)
    assert drawn.num_views == 30 and answers["logits"].shape == (30, 5) and answers["embedding"].shape == (30, 8)
    remembered = RememberedTeacher(lambda images: pytest.fail("it was asked"), TeacherOutput, answers)
    for epoch in range(3):
        pairs = zip(with_teacher(drawn(epoch), teacher), with_teacher(drawn(epoch), remembered), strict=True)
        for asked, known in pairs:
            assert torch.equal(asked.images, known.images) and known.teacher.maps == {}
            assert torch.equal(asked.teacher.logits, known.teacher.logits)
            assert torch.equal(asked.teacher.embedding, known.teacher.embedding)


def test_both_views_of_an_image_come_up(data):
    seen = torch.cat([batch.views for epoch in range(40) for batch in batches(data)(epoch)])
    assert set(seen.tolist()) == set(range(30))


def test_a_half_has_the_numbers_of_the_whole(data):
    half = np.arange(0, 15, 2)
    seen = torch.cat([batch.views for epoch in range(6) for batch in batches(data, indices=half)(epoch)])
    assert set((seen // 2).tolist()) == set(half.tolist())


@pytest.mark.parametrize("augment", [Augment(crop_padding=1), Augment(crop_padding=0, erase=0.5)])
def test_views_that_do_not_repeat_are_asked_about(data, teacher, augment):
    drawn = batches(data, augment)
    assert drawn.num_views is None
    remembered = RememberedTeacher(teacher, TeacherOutput, {})
    batch = next(iter(with_teacher(drawn(0), remembered)))
    assert batch.views is None and torch.equal(batch.teacher.logits, teacher(batch.images).logits)
