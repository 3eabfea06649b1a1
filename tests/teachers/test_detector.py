"""What a student hears from a detector (KD_det), against loops in float64 and where it must be nothing."""

import math
from dataclasses import replace

import pytest
import torch

from search_spaces.shallow_cnn import ShallowCNN
from students.hinted import Hint, Hinted
from students.identity_table import Matching
from students.losses import box_regression
from students.person_search import PersonSearch, RoIs
from students.rpn import Anchors, Proposals
from students.scenes import UNKNOWN, Scenes
from teachers.detector import check_same_anchors
from teachers.signals import bounded_regression, hint, soft_detection

RNG = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


STUDENT, TEACHER = random(9, 2), random(9, 2)
DELTAS, TOLD, TARGETS = random(12, 4), random(12, 4), 0.5 * random(12, 4)
LABELS = torch.tensor([1, 0, -1, 1] * 3)
SAMPLED = torch.tensor([True, True, False, True, True, False] * 2)


def softmax(row, temperature):
    exps = [math.exp(z / temperature) for z in row]
    return [e / sum(exps) for e in exps]


class TestSoftDetection:
    @pytest.mark.parametrize("temperature", [0.7, 1.0, 10.0])
    @pytest.mark.parametrize("weight", [1.0, 1.5])
    @pytest.mark.parametrize("squared", [False, True])
    def test_is_its_formula(self, temperature, weight, squared):
        total = 0.0
        for z_s, z_t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True):
            p_s, p_t = softmax(z_s, temperature), softmax(z_t, temperature)
            total -= sum(w * t * math.log(s) for w, t, s in zip((weight, 1.0), p_t, p_s, strict=True))
        expected = total / 9 * (temperature**2 if squared else 1)
        loss = soft_detection(STUDENT, TEACHER, temperature, weight, squared)
        assert loss.item() == pytest.approx(expected, rel=1e-12)

    def test_one_logit_is_two_with_0_for_the_background(self):
        both = [torch.stack([torch.zeros(9), z[:, 1]], dim=1) for z in (STUDENT, TEACHER)]
        one = soft_detection(STUDENT[:, 1], TEACHER[:, 1], 3.0)
        assert one.item() == pytest.approx(soft_detection(*both, 3.0).item(), rel=1e-12)
        sigmoid = -(torch.sigmoid(TEACHER[:, 1] / 3) * torch.sigmoid(STUDENT[:, 1] / 3).log()).mean()
        sigmoid -= (torch.sigmoid(-TEACHER[:, 1] / 3) * torch.sigmoid(-STUDENT[:, 1] / 3).log()).mean()
        assert soft_detection(STUDENT[:, 1], TEACHER[:, 1], 3.0, 1.0).item() == pytest.approx(sigmoid.item())

    def test_of_the_teacher_itself_it_is_the_entropy_without_a_gradient(self):
        student = TEACHER.clone().requires_grad_()
        loss = soft_detection(student, TEACHER, 2.0, background_weight=1.0)
        p = torch.softmax(TEACHER / 2, dim=1)
        assert loss.item() == pytest.approx(-(p * p.log()).sum(dim=1).mean().item(), rel=1e-12)
        loss.backward()
        assert student.grad.abs().max() < 1e-15

    def test_at_a_high_temperature_t_squared_keeps_the_gradient(self):
        norms = []
        for temperature, squared in ((1.0, False), (10.0, False), (10.0, True)):
            student = STUDENT.clone().requires_grad_()
            soft_detection(student, TEACHER, temperature, 1.0, squared).backward()
            norms.append(student.grad.norm().item())
        assert norms[1] < norms[0] / 50 and norms[0] / 3 < norms[2] < 3 * norms[0]

    def test_the_teachers_side_is_a_constant(self):
        student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
        soft_detection(student, teacher, 2.0).backward()
        assert teacher.grad is None and student.grad.any()
        assert torch.autograd.gradgradcheck(lambda z: soft_detection(z, TEACHER, 2.0), student)

    def test_no_boxes_are_0(self):
        assert soft_detection(STUDENT[:0], TEACHER[:0], 1.0).item() == 0

    def test_what_makes_no_sense_is_refused(self):
        with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
            soft_detection(STUDENT, TEACHER, 0)
        with pytest.raises(ValueError, match=r"the same boxes, got .*\[9, 2\] and \[8, 2\]: give them"):
            soft_detection(STUDENT, TEACHER[1:], 1.0)


class TestBoundedRegression:
    @pytest.mark.parametrize("margin", [0.0, 0.2, 5.0])
    @pytest.mark.parametrize("sampled", [SAMPLED, None])
    def test_is_its_formula(self, margin, sampled):
        total, counted = 0.0, torch.ones(12, dtype=torch.bool) if sampled is None else sampled
        for i in range(12):
            if counted[i] and LABELS[i] == 1:
                error, bound = (float((r[i] - TARGETS[i]).square().sum()) for r in (DELTAS, TOLD))
                total += error if error + margin > bound else 0.0
        loss = bounded_regression(DELTAS, TOLD, TARGETS, LABELS, sampled, margin)
        assert loss.item() == pytest.approx(total / counted.sum().item(), rel=1e-12)

    def test_of_the_teacher_itself_it_is_nothing_or_with_a_margin_the_error(self):
        assert bounded_regression(TOLD, TOLD, TARGETS, LABELS).item() == 0
        error = (TOLD - TARGETS).square().sum(dim=1)[LABELS == 1].sum() / 12
        assert bounded_regression(TOLD, TOLD, TARGETS, LABELS, margin=1e-9).item() == pytest.approx(error.item())

    def test_counts_as_the_ordinary_loss_does(self):
        far = 100 + torch.zeros(12, 4, dtype=torch.float64)
        ordinary = box_regression(far, 0 * far, LABELS, SAMPLED) / (4 * (100 - 1 / 18))
        assert bounded_regression(far, 0 * far, 0 * far, LABELS, SAMPLED).item() / 4e4 == pytest.approx(ordinary.item())

    def test_the_teachers_side_is_a_constant(self):
        student, teacher = DELTAS.clone().requires_grad_(), TOLD.clone().requires_grad_()
        bounded_regression(student, teacher, TARGETS, LABELS).backward()
        assert teacher.grad is None and student.grad.any() and not student.grad[LABELS != 1].any()

    def test_other_boxes_are_refused(self):
        with pytest.raises(ValueError, match="student and teacher must answer the same boxes"):
            bounded_regression(DELTAS, TOLD[1:], TARGETS, LABELS)


SPACE = PersonSearch(
    backbone=ShallowCNN(widths=(1 / 16,)),
    num_ids=2,
    embedding_dim=8,
    stride=8,
    anchors=Anchors(sizes=(24, 48), ratios=(2, 3)),
    proposals=Proposals(num_sampled=16),
    rois=RoIs(size=(4, 4), num_sampled=8),
    matching=Matching(queue=2),
)


def test_student_and_teacher_must_have_the_same_anchors():
    student, teacher = SPACE.student(), replace(SPACE, embedding_dim=None).student()
    check_same_anchors(student, teacher)
    for other in (replace(SPACE, anchors=Anchors()), replace(SPACE, stride=16)):
        with pytest.raises(ValueError, match="the same anchors: the student has sizes x ratios .*every 8 pixels"):
            check_same_anchors(student, other.student())


def test_a_student_with_a_hint_hears_a_detector_in_one_step():
    torch.manual_seed(0)
    teacher = replace(SPACE, embedding_dim=None, backbone=ShallowCNN(widths=(1 / 8,))).student().eval()
    channels = teacher.where.channels
    space = Hinted(main=SPACE, hints=(Hint(student="layer3", teacher="layer3", channels=channels),))
    net = space.student()
    boxes = torch.tensor([[8.0, 8, 32, 56]])
    scenes = Scenes(torch.randn(1, 3, 64, 64), torch.tensor([[64, 64]]), (boxes,), (torch.tensor([UNKNOWN]),))
    out, said = net(scenes), teacher.teach(scenes, ["layer3"])
    regions = said.regions(out.rois)
    losses = (
        soft_detection(out.objectness[out.sampled], said.objectness[out.sampled], 10.0),
        soft_detection(out.class_logits, regions.class_logits, 10.0),
        bounded_regression(out.deltas, said.deltas, out.anchor_targets, out.anchor_labels, out.sampled, margin=9.0),
        bounded_regression(out.box_deltas, regions.box_deltas, out.roi_targets, out.roi_labels, margin=9.0),
        hint(out.maps["hint.layer3"], said.maps["layer3"]),
    )
    assert all(loss.item() > 0 for loss in losses)
    sum(losses).backward()
    assert net.adapters[0].weight.grad.any() and net.main.rpn.deltas.weight.grad.any()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert net.eval()(scenes).detections and type(net.inference()) is type(net.main)
