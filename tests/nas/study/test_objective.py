"""The search's two halves under one teacher."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nas.data import splits
from nas.data.augment import Augment
from nas.data.batches import Batch, Batches
from nas.data.cache import ImageCache
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from nas.losses.kdas import KDASLoss
from nas.study.objective import SearchObjective, with_teacher
from search_spaces.cell import Cells
from students.reid import ReID, ReIDModule
from teachers.teacher import Teacher
from teachers.temperature import Constant, Linear


class Listener(ReIDModule):
    """A teacher's network that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, x):
        self.shown.append(x.clone())
        colour = x.mean(dim=(2, 3))
        return SimpleNamespace(logits=colour @ torch.ones(3, 6), embedding=colour, maps={"image": x})


SOURCE = Pedestrians(num_train_ids=6, num_test_ids=1, images_per_id=8, height=32, width=16)


@pytest.fixture(scope="module")
def cache():
    return ImageCache(SOURCE.load().train, 32, 16)


class TestSearchObjective:
    @pytest.fixture
    def objective(self, cache):
        labels = SOURCE.load().train_labels
        halves = splits.by_image(labels, np.random.default_rng(0))
        weights, alphas = (
            Batches(
                cache,
                labels,
                ClassBalanced(num_ids=3, images_per_id=2),
                Augment(flip=0, crop_padding=0),
                seed,
                indices=half,
            )
            for seed, half in enumerate(halves)
        )
        return SearchObjective(KDASLoss(), weights, alphas, Teacher(Listener(), nullcontext), 10)

    def test_the_halves_share_no_image(self, objective):
        def seen(batches) -> set[bytes]:
            return {image.numpy().tobytes() for epoch in range(4) for batch in batches(epoch) for image in batch.images}

        weights, alphas = seen(objective.weight_batches), seen(objective.alpha_batches)
        assert not weights & alphas and min(len(weights), len(alphas)) >= 20

    def test_the_teacher_is_asked_once_for_each_batch_and_sees_what_the_student_sees(self, objective):
        listener = objective.teacher._net
        net = ReID(backbone=Cells(channels=2, cells=1, reductions=()), num_ids=6).student()
        batches = [*objective.weight_batches(0), *objective.alpha_batches(0)]
        for batch in batches:
            for loss in (objective.loss, objective.alpha_loss, objective.loss):
                loss(net, batch, 3)
        assert len(listener.shown) == len(batches) == 2 * objective.num_steps
        assert all(torch.equal(shown, batch.images) for shown, batch in zip(listener.shown, batches, strict=True))
        assert all(batch.teacher.logits.shape == (6, 6) and not batch.teacher.maps for batch in batches)

    def test_batches_go_on_from_any_step(self, objective):
        whole = list(objective.alpha_batches(2))
        for start in range(len(whole) + 1):
            rest = list(objective.alpha_batches(2, start))
            assert [torch.equal(a.images, b.images) for a, b in zip(rest, whole[start:], strict=True)] == [True] * (
                len(whole) - start
            )

    def test_both_halves_have_the_same_number_of_steps(self, cache, objective):
        labels = SOURCE.load().train_labels
        short = Batches(cache, labels, ClassBalanced(num_ids=3, images_per_id=2, num_batches=2), Augment(), 5)
        uneven = replace(objective, alphas=short)
        assert uneven.num_steps == 2 == len(list(uneven.weight_batches(0))) == len(list(uneven.alpha_batches(0)))

    def test_temperature_falls_over_the_epochs_and_is_recorded(self, objective):
        told = [objective.record(epoch)["temperature"] for epoch in range(10)]
        assert told == [Linear(start=2.0, end=0.0).at(epoch, 10) for epoch in range(10)] and told[-1] < told[0] == 2.0
        constant = replace(objective, loss_function=KDASLoss(temperature=Constant(value=3.0)))
        assert constant.temperature(9) == 3.0
        assert replace(objective, teacher=None).record(0) == {"temperature": None}

    def test_the_alphas_may_minimise_something_else(self, objective):
        net = ReID(backbone=Cells(channels=2, cells=1, reductions=()), num_ids=6).student().eval()
        batch = next(iter(objective.weight_batches(0)))
        other = replace(objective, alpha_loss_function=KDASLoss(triplet_weight=0.0, temperature=Constant(value=1.0)))
        assert objective.alpha_loss(net, batch, 0)["total"] == objective.loss(net, batch, 0)["total"]
        assert other.loss(net, batch, 0)["total"] == objective.loss(net, batch, 0)["total"]
        assert other.alpha_loss(net, batch, 0)["total"] == other.alpha_loss(net, batch, 0)["distill"]

    def test_without_a_teacher_nothing_is_said(self, objective):
        batch = next(iter(replace(objective, teacher=None).weight_batches(0)))
        assert batch.teacher is None


def test_heard_asks_only_when_the_batch_is_due():
    listener = Listener()
    batches = (Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2)) for _ in range(3))
    ahead = with_teacher(batches, Teacher(listener, nullcontext))
    next(ahead)
    assert len(listener.shown) == 1
