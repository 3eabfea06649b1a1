"""What every loss must do. A new one joins with its line in LOSSES of `nas/losses/__init__.py`; one that has no name
there, because it needs more than defaults, with a line in UNNAMED."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nas.data.batches import Batch
from nas.losses import LOSSES
from nas.losses.base import Loss
from nas.losses.hints import HintLoss
from nas.losses.oim import DetectorKD, OIMLoss
from nas.losses.vrkd import BranchesLoss
from nas.system.config import decode, encode
from nas.tasks import TASKS
from search_spaces.resnet import ResNet
from students.hinted import answering
from students.ksl import KSL
from students.query_guided import QueryGuided
from students.reid import ReID, ReIDOutput, TeacherOutput
from students.scenes import BACKGROUND, Guided, Regions, SearchOutput

UNNAMED = {
    "hints": HintLoss(hints=("map",)),
    "attention of branches": HintLoss(each=BranchesLoss(), attention=(("map", "map"),)),
    "hints of a detector": HintLoss(each=OIMLoss(detector=DetectorKD()), hints=("map",)),
}
CONTRACT = {**LOSSES, **UNNAMED}
NUM_IDS, DIM = 5, 3
PLAIN = ReID(backbone=ResNet(width=1 / 16), num_ids=NUM_IDS)
GUIDED = QueryGuided(backbone=ResNet(width=1 / 16), num_ids=NUM_IDS)
BRANCHED = KSL(main=PLAIN, branches=("layer4",))


class Answers:
    """Random answers of a student and a teacher; `leaves` are the student's, which a gradient can reach."""

    def __init__(self, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> None:
        self.rng, self.dtype, self.scale = torch.Generator().manual_seed(0), dtype, scale
        self.leaves: list[Tensor] = []

    def told(self, *shape: int) -> Tensor:
        return (self.scale * torch.randn(shape, generator=self.rng, dtype=torch.float64)).to(self.dtype)

    def own(self, *shape: int) -> Tensor:
        self.leaves.append(self.told(*shape).requires_grad_())
        return self.leaves[-1]

    def reid(self, labels: list[int], taught: bool) -> tuple[ReIDOutput, Batch]:
        """Of crops, with an auxiliary branch."""

        def answer(*branches: ReIDOutput) -> ReIDOutput:
            logits, embedding, feature_map = (
                self.own(len(labels), NUM_IDS),
                self.own(len(labels), DIM),
                self.maps(labels),
            )
            maps = {"map": feature_map, answering("map"): feature_map}
            return ReIDOutput(logits, embedding, embedding, maps, branches)

        told = TeacherOutput(self.told(len(labels), NUM_IDS), self.told(len(labels), DIM), self.told_maps(labels))
        return answer(answer()), Batch(torch.zeros(len(labels)), torch.tensor(labels), told if taught else None)

    def person_search(self, labels: list[int], taught: bool) -> tuple[SearchOutput, Batch]:
        """Of one frame with a person for each label, each found by one anchor and one region, and a region of none."""
        num, ids = len(labels), torch.tensor([*labels, BACKGROUND])
        out = SearchOutput(
            objectness=self.own(1, num + 1),
            deltas=self.own(1, num + 1, 4),
            anchors=self.told(num + 1, 4),
            anchor_labels=(ids != BACKGROUND).long()[None],
            anchor_targets=self.told(1, num + 1, 4),
            sampled=torch.ones(1, num + 1, dtype=torch.bool),
            rois=(self.told(num + 1, 4),),
            class_logits=self.own(num + 1, 2),
            box_deltas=self.own(num + 1, 4),
            roi_labels=(ids != BACKGROUND).long(),
            roi_targets=self.told(num + 1, 4),
            embedding=self.own(num + 1, DIM),
            roi_ids=ids,
            id_logits=self.own(num + 1, NUM_IDS),
            maps={answering("map"): self.maps([0])},
            guided=Guided(
                objectness=self.own(1, num + 1),
                anchor_labels=torch.tensor([[1] * min(num, 1) + [0] * (num + 1 - min(num, 1))]),
                sampled=torch.ones(1, num + 1, dtype=torch.bool),
                similarity=self.own(num + 1, 2),
                same=torch.tensor([int(label == labels[0]) for label in labels] + [-1]),
            ),
        )
        regions = Regions(self.told(num + 1, 2), self.told(num + 1, 4), self.told(num + 1, 0))
        told = SimpleNamespace(
            objectness=self.told(1, num + 1),
            deltas=self.told(1, num + 1, 4),
            regions=lambda rois: regions,
            maps=self.told_maps([0]),
        )
        return out, Batch(None, torch.tensor(labels), told if taught else None)

    def maps(self, labels: list[int]) -> Tensor:
        return self.own(len(labels), 2, 2, 1)

    def told_maps(self, labels: list[int]) -> dict[str, Tensor]:
        return {"map": self.told(len(labels), 2, 2, 1)}


def answers(loss: Loss, labels: list[int], taught: bool = True, **options) -> tuple[object, Batch, list[Tensor]]:
    """Of a network for the loss's task, what is asked of it, and what of it a gradient can reach."""
    given = Answers(**options)
    return *getattr(given, loss.task or "reid")(labels, taught), given.leaves


def gradients(total: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


@pytest.fixture(params=CONTRACT)
def loss(request) -> Loss:
    return CONTRACT[request.param]


@pytest.mark.parametrize("taught", [True, False], ids=["taught", "alone"])
@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1], [0, 0, 1, 1]], ids=str)
class TestBatches:
    def test_total_and_parts_are_finite_numbers(self, loss, labels, taught):
        losses = loss(*answers(loss, labels, taught)[:2], 2.0)
        assert "total" in losses and all(part.shape == () and part.isfinite() for part in losses.values())

    def test_the_gradient_is_finite_and_there_is_one(self, loss, labels, taught):
        out, batch, leaves = answers(loss, labels, taught)
        found = gradients(loss(out, batch, 2.0)["total"], leaves)
        assert all(gradient.isfinite().all() for gradient in found) and any(gradient.any() for gradient in found)


@pytest.mark.parametrize("taught", [True, False], ids=["taught", "alone"])
@pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1e4), (1e4, 1.0), (1e-6, 2.0), (0.0, 2.0)])
def test_no_temperature_and_no_size_of_the_answers_makes_it_infinite(loss, scale, temperature, taught):
    out, batch, leaves = answers(loss, [0, 0, 1, 1], taught, scale=scale)
    total = loss(out, batch, temperature)["total"]
    assert total.isfinite() and all(gradient.isfinite().all() for gradient in gradients(total, leaves))


def test_single_precision_and_autocast_change_no_more_than_rounding(loss):
    exact = loss(*answers(loss, [0, 0, 1, 1], dtype=torch.float64)[:2], 2.0)["total"].item()
    single = answers(loss, [0, 0, 1, 1])[:2]
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(*single, 2.0)["total"].item() == pytest.approx(exact, rel=1e-4)


def test_it_changes_neither_the_answers_nor_what_the_teacher_says(loss):
    out, batch, leaves = answers(loss, [0, 0, 1, 1])
    versions = [leaf._version for leaf in leaves]
    one, again = (loss(out, batch, 2.0)["total"] for _ in range(2))
    assert one == again and versions == [leaf._version for leaf in leaves]


def test_where_nobody_teaches_and_where_it_has_none_the_temperature_means_nothing(loss):
    for taught in (False,) if loss.temperature else (False, True):
        cold, hot = (loss(*answers(loss, [0, 0, 1, 1], taught)[:2], temperature)["total"] for temperature in (0.0, 9.0))
        assert cold == hot


def test_its_temperature_is_one_that_it_can_take(loss):
    for epoch in (0, 1):
        temperature = loss.temperature_at(epoch, 2)
        assert loss(*answers(loss, [0, 0, 1, 1])[:2], temperature or 0.0)["total"].isfinite()


def test_a_network_with_branches_is_refused_unless_it_trains_them(loss):
    loss.small().check(PLAIN, 2)
    if loss.trains_branches or getattr(loss, "each", loss).trains_branches:
        loss.small().check(BRANCHED, 2)
    else:
        with pytest.raises(ValueError, match="need a loss that trains them"):
            loss.check(BRANCHED, 200)


def test_a_query_guided_network_is_refused_unless_it_trains_what_guides_it(loss):
    if loss.trains_query:
        loss.check(GUIDED, 2)
    else:
        with pytest.raises(ValueError, match="query-guided .* needs a loss that trains what guides it: --loss qeeps"):
            getattr(loss, "each", loss).check(GUIDED, 200)


def test_a_file_gives_it_back(loss):
    assert decode(encode(loss), Loss) == loss


def test_it_is_for_a_task_that_there_is(loss):
    assert loss.task in ("", *TASKS)


def test_the_loss_of_each_epoch_is_one_of_its_kind(loss):
    brief = loss.small()
    assert {type(brief.at(epoch, 2)) for epoch in (0, 1)} == {type(loss)}
    assert brief.at(1, 2) == brief, "it is complete in the last epoch"
