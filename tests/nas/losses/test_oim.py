"""The losses of person search against loops over anchors and regions, and what their teachers add."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nas.losses.hints import HintLoss
from nas.losses.oim import DetectorKD, OIMLoss
from students.losses import box_regression, cross_entropy, objectness, oim
from students.scenes import DETECTOR, TABLE, Regions, SearchOutput
from teachers.temperature import Constant, Linear

B, A, R, P = 2, 10, 7, 4
RNG = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


def integers(low: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=RNG)


OUT = SearchOutput(
    objectness=drawn(B, A),
    deltas=drawn(B, A, 4),
    anchors=drawn(A, 4),
    anchor_labels=integers(-1, 2, B, A),
    anchor_targets=drawn(B, A, 4),
    sampled=integers(0, 2, B, A).bool(),
    rois=(drawn(3, 4), drawn(4, 4)),
    class_logits=drawn(R, 2),
    box_deltas=drawn(R, 4),
    roi_labels=integers(0, 2, R),
    roi_targets=drawn(R, 4),
    embedding=drawn(R, 3),
    roi_ids=torch.tensor([0, 3, -2, -1, 1, -2, 3]),
    id_logits=drawn(R, P),
)
TOLD = Regions(drawn(R, 2), drawn(R, 4), drawn(R, 0))


class Said(SimpleNamespace):
    """A detector's answers, which are asked for the student's own regions."""

    def regions(self, rois):
        assert rois is OUT.rois
        return self.told


SAID = Said(objectness=drawn(B, A), deltas=drawn(B, A, 4), told=TOLD, maps={})
ALONE, HEARD = SimpleNamespace(teacher=None), SimpleNamespace(teacher=SAID)


def soft(student: list, teacher: list, how: DetectorKD, temperature: float) -> float:
    """Of logits of background and person, each a row of two."""
    total = 0.0
    for z_s, z_t in zip(student, teacher, strict=True):
        (s0, s1), (t0, t1) = ([math.exp(z / temperature) for z in pair] for pair in (z_s, z_t))
        total -= how.background_weight * t0 / (t0 + t1) * math.log(s0 / (s0 + s1))
        total -= t1 / (t0 + t1) * math.log(s1 / (s0 + s1))
    return total / len(student) * (temperature**2 if how.squared else 1)


def bounded(rows: list, how: DetectorKD) -> float:
    """Of rows of deltas, the teacher's, the right ones and the label."""
    total = 0.0
    for own, told, right, label in rows:
        error, bound = (sum((a - b) ** 2 for a, b in zip(x.tolist(), right.tolist(), strict=True)) for x in (own, told))
        total += error if label == 1 and error + how.margin > bound else 0.0
    return total / len(rows)


@pytest.mark.parametrize(
    "how",
    [DetectorKD(), DetectorKD(mu=0.2, gamma=2.0, background_weight=1.0, margin=0.7, squared=True)],
    ids=["paper", "others"],
)
def test_a_detector_is_heard_as_the_formulas_say(how):
    loss, temperature = OIMLoss(weight=0.1, detector=how), 3.0
    chosen = [(b, a) for b in range(B) for a in range(A) if OUT.sampled[b, a]]
    right = {
        "rpn_soft": soft(
            [(0, OUT.objectness[at].item()) for at in chosen],
            [(0, SAID.objectness[at].item()) for at in chosen],
            how,
            temperature,
        ),
        "rpn_bounded": bounded(
            [(OUT.deltas[at], SAID.deltas[at], OUT.anchor_targets[at], OUT.anchor_labels[at]) for at in chosen], how
        ),
        "soft": soft(OUT.class_logits.tolist(), TOLD.class_logits.tolist(), how, temperature),
        "bounded": bounded(
            list(zip(OUT.box_deltas, TOLD.box_deltas, OUT.roi_targets, OUT.roi_labels, strict=True)), how
        ),
    }
    found = loss(OUT, HEARD, temperature)
    plain = loss(OUT, ALONE, 0.0)
    assert {name: found[name].item() for name in right} == pytest.approx(right, rel=1e-12)
    assert {name: found[name].item() for name in plain if name != "total"} == pytest.approx(
        {name: plain[name].item() for name in plain if name != "total"}, rel=1e-12
    )
    total = 0.1 * plain["oim"] + plain["rpn_box"] + plain["box"] + how.mu * (plain["rpn_class"] + plain["class"])
    total += (1 - how.mu) * (right["rpn_soft"] + right["soft"]) + how.gamma * (right["rpn_bounded"] + right["bounded"])
    assert found["total"].item() == pytest.approx(total.item(), rel=1e-12)


def test_without_a_teacher_or_a_detector_it_is_the_labels_alone():
    parts = {
        "rpn_class": objectness(OUT.objectness, OUT.anchor_labels, OUT.sampled),
        "rpn_box": box_regression(OUT.deltas, OUT.anchor_targets, OUT.anchor_labels, OUT.sampled),
        "class": cross_entropy(OUT.class_logits, OUT.roi_labels),
        "box": box_regression(OUT.box_deltas, OUT.roi_targets, OUT.roi_labels),
        "oim": oim(OUT.id_logits, OUT.roi_ids),
    }
    for loss, batch in ((OIMLoss(detector=DetectorKD()), ALONE), (OIMLoss(), HEARD)):
        found = loss(OUT, batch, 10.0)
        assert found.keys() == {"total", *parts}
        assert found["total"].item() == pytest.approx(sum(parts.values()).item(), rel=1e-12)


def test_of_a_detector_alone_no_identities_are_told_apart():
    out = OUT._replace(id_logits=OUT.id_logits[:, :0])
    assert "oim" not in OIMLoss(weight=9.0)(out, ALONE, 0.0)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_of_boxes_and_only_the_entropy_of_classes():
    same = Said(objectness=OUT.objectness, deltas=OUT.deltas, told=Regions(OUT.class_logits, OUT.box_deltas, None))
    how = DetectorKD(background_weight=1.0)
    found = OIMLoss(detector=how)(OUT, SimpleNamespace(teacher=same), 2.0)
    assert found["rpn_bounded"].item() == found["bounded"].item() == 0
    p = torch.softmax(OUT.class_logits / 2, dim=1)
    assert found["soft"].item() == pytest.approx(-(p * p.log()).sum(dim=1).mean().item(), rel=1e-12)


def test_no_gradient_reaches_the_teacher():
    said = {name: getattr(SAID, name).clone().requires_grad_() for name in ("objectness", "deltas")}
    told = Regions(*(each.clone().requires_grad_() for each in TOLD))
    student = OUT.class_logits.clone().requires_grad_()
    batch = SimpleNamespace(teacher=Said(**said, told=told))
    OIMLoss(detector=DetectorKD())(OUT._replace(class_logits=student), batch, 10.0)["total"].backward()
    assert student.grad.any() and all(each.grad is None for each in (*said.values(), *told))


@pytest.mark.parametrize(
    ("loss", "asked"),
    [
        (OIMLoss(), ()),
        (OIMLoss(fixed_table=True), (TABLE,)),
        (OIMLoss(detector=DetectorKD()), (DETECTOR,)),
        (OIMLoss(fixed_table=True, detector=DetectorKD()), (TABLE, DETECTOR)),
        (HintLoss(each=OIMLoss(fixed_table=True), hints=("layer2",)), (TABLE, "layer2")),
    ],
    ids=["plain", "KD_reid", "KD_det", "both", "hint"],
)
def test_each_teacher_is_asked_for_what_is_heard_of_it(loss, asked):
    assert loss.teacher_maps == asked


def test_a_temperature_may_fall_but_not_to_0_where_it_divides():
    assert OIMLoss(detector=DetectorKD(), temperature=Linear(start=10.0, end=1.0)).temperature.at(0, 5) == 10
    assert replace(OIMLoss(), temperature=Linear()).temperature.at(4, 5) == 0
    with pytest.raises(ValueError, match="a temperature above 0"):
        OIMLoss(detector=DetectorKD(), temperature=Linear())
    with pytest.raises(ValueError, match=r"DetectorKD.mu must be at most 1, not 1\.5"):
        DetectorKD(mu=1.5)
    assert OIMLoss().temperature == Constant(value=10.0)
