"""Each paper's loss against its formula written out, and at its ends."""

import math

import pytest
import torch
from torch.nn import functional as F

from nas.data.batches import Batch
from nas.losses.hints import HintLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.vrkd import VRKDLoss
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput, TeacherOutput
from teachers.signals import attention_transfer, hint
from teachers.temperature import Constant, Linear


@pytest.fixture
def said():
    """A student's output and a batch that the teacher has heard."""
    rng = torch.Generator().manual_seed(0)
    logits, told = torch.randn(2, 8, 5, generator=rng, dtype=torch.float64)
    embedding = torch.randn(8, 3, generator=rng, dtype=torch.float64)
    labels = torch.arange(4).repeat_interleave(2)
    return ReIDOutput(logits, embedding, embedding), Batch(torch.zeros(8), labels, TeacherOutput(told, embedding, {}))


class TestKDAS:
    def test_at_temperature_zero_the_teacher_is_the_label(self, said):
        out, batch = said
        losses = KDASLoss()(out, batch, 0.0)
        assert losses["distill"].item() == pytest.approx(cross_entropy(out.logits, batch.labels).item(), rel=1e-12)
        assert losses["total"].item() == pytest.approx(
            (cross_entropy(out.logits, batch.labels) + triplet(out.embedding, batch.labels)).item(), rel=1e-12
        )

    def test_without_a_teacher_it_is_the_same_at_any_temperature(self, said):
        out, batch = said
        taught = KDASLoss()(out, batch, 0.0)["total"]
        for temperature in (0.0, 2.0):
            losses = KDASLoss()(out, batch._replace(teacher=None), temperature)
            assert losses["total"].item() == taught.item() and set(losses) == {"total", "identity", "triplet"}

    def test_above_zero_it_is_the_naive_sum(self, said):
        out, batch = said
        total = 0.0
        for z_s, z_t in zip(out.logits, batch.teacher.logits, strict=True):
            q_t, q_s = (torch.softmax(z / 2.0, 0) for z in (z_t, z_s))
            total -= sum(t * math.log(s) for t, s in zip(q_t.tolist(), q_s.tolist(), strict=True)) / len(out.logits)
        assert KDASLoss()(out, batch, 2.0)["distill"].item() == pytest.approx(total, rel=1e-12)

    def test_weights_and_margin_are_heeded(self, said):
        out, batch = said
        losses = KDASLoss(distill_weight=3.0, triplet_weight=0.25, margin=1.0)(out, batch, 2.0)
        plain = KDASLoss()(out, batch, 2.0)
        assert losses["distill"] == plain["distill"] and losses["triplet"] > plain["triplet"]
        assert losses["total"].item() == pytest.approx((3 * losses["distill"] + losses["triplet"] / 4).item())

    def test_smoothing_is_of_the_labels_alone(self, said):
        out, batch = said
        smooth = KDASLoss(label_smoothing=0.1)
        assert smooth(out, batch, 2.0)["total"] == KDASLoss()(out, batch, 2.0)["total"]
        alone = smooth(out, batch._replace(teacher=None), 0.0)["identity"]
        assert alone.item() == pytest.approx(F.cross_entropy(out.logits, batch.labels, label_smoothing=0.1).item())

    def test_tied_changes_only_what_is_below_one(self, said):
        out, batch = said
        letter = KDASLoss(tied=True)
        assert letter(out, batch, 2.0)["total"] == KDASLoss()(out, batch, 2.0)["total"]
        assert letter(out, batch, 0.5)["total"] != KDASLoss()(out, batch, 0.5)["total"]


class TestKD:
    @pytest.mark.parametrize(("alpha", "temperature"), [(0.1, 5.0), (0.5, 1.0), (1.0, 2.0), (0.0, 10.0)])
    def test_it_is_the_naive_sum(self, said, alpha, temperature):
        out, batch = said
        soft = hard = 0.0
        for z_s, z_t, label in zip(out.logits, batch.teacher.logits, batch.labels.tolist(), strict=True):
            p_s, p_t = (torch.softmax(z / temperature, 0).tolist() for z in (z_s, z_t))
            soft += sum(t * (math.log(t) - math.log(s)) for t, s in zip(p_t, p_s, strict=True)) / len(out.logits)
            hard -= math.log(torch.softmax(z_s, 0)[label].item()) / len(out.logits)
        pull = triplet(out.embedding, batch.labels).item()
        losses = KDLoss(alpha=alpha)(out, batch, temperature)
        assert losses["distill"].item() == pytest.approx(temperature**2 * soft, rel=1e-10)
        total = alpha * temperature**2 * soft + (1 - alpha) * hard + pull
        assert losses["total"].item() == pytest.approx(total, rel=1e-10)

    def test_without_a_teacher_the_labels_have_the_whole_weight(self, said):
        out, batch = said
        losses = KDLoss(alpha=0.5, triplet_weight=0.0)(out, batch._replace(teacher=None), 5.0)
        assert losses["total"] == losses["identity"] == cross_entropy(out.logits, batch.labels)
        assert set(losses) == {"total", "identity", "triplet"}

    def test_what_cannot_be_is_refused_before_training(self):
        with pytest.raises(ValueError, match="needs a temperature above 0 in every epoch"):
            KDLoss(temperature=Linear(start=5.0, end=0.0))
        KDLoss(temperature=Linear(start=5.0, end=1.0))
        assert KDLoss().temperature == Constant(value=5.0)


class TestVRKD:
    @pytest.mark.parametrize("direction", ["usual", "printed"])
    @pytest.mark.parametrize("tricks", [{}, {"label_smoothing": 0.1, "triplet_weight": 0.5, "distill_weight": 3.0}])
    def test_it_is_the_naive_sum(self, said, direction, tricks):
        out, batch = said
        hard = soft = 0.0
        smoothing = tricks.get("label_smoothing", 0.0)
        for z_s, z_t, label in zip(out.logits, batch.teacher.logits, batch.labels.tolist(), strict=True):
            p = torch.softmax(z_s, 0).tolist()
            p_s, p_t = (torch.softmax(z / 2, 0).tolist() for z in (z_s, z_t))
            hard -= sum((smoothing / 5 + (1 - smoothing) * (c == label)) * math.log(p[c]) for c in range(5)) / 8
            one, other = (p_t, p_s) if direction == "usual" else (p_s, p_t)
            sign = 1 if direction == "usual" else -1
            soft += sign * sum(a * math.log(a / b) for a, b in zip(one, other, strict=True)) / 8
        losses = VRKDLoss(direction=direction, **tricks)(out, batch, 2.0)
        total = hard + tricks.get("distill_weight", 1.0) * soft
        total += tricks.get("triplet_weight", 0.0) * triplet(out.embedding, batch.labels).item()
        assert losses["distill"].item() == pytest.approx(soft, rel=1e-10)
        assert losses["total"].item() == pytest.approx(total, rel=1e-10)

    def test_without_a_teacher_the_labels_are_left(self, said):
        out, batch = said
        losses = VRKDLoss()(out, batch._replace(teacher=None), 2.0)
        assert losses["total"] == losses["identity"] and set(losses) == {"total", "identity", "triplet"}

    def test_what_cannot_be_is_refused_before_training(self):
        with pytest.raises(ValueError, match="needs a temperature above 0 in every epoch"):
            VRKDLoss(temperature=Linear(start=2.0, end=0.0))
        assert VRKDLoss(temperature=Linear(start=2.0, end=1.0)).temperature.at(0, 2) == 2.0


class TestHints:
    @pytest.fixture
    def told(self, said):
        """The same with maps: the student's `mine` and `hint.theirs`, the teacher's `theirs` and a larger `far`."""
        out, batch = said
        mine, adapted, theirs = torch.randn(3, 8, 4, 2, 2, generator=torch.Generator().manual_seed(1))
        maps = {"theirs": theirs, "far": torch.randn(8, 6, 4, 4, generator=torch.Generator().manual_seed(2))}
        return (
            out._replace(maps={"mine": mine, "hint.theirs": adapted}),
            batch._replace(teacher=batch.teacher._replace(maps=maps)),
        )

    def test_maps_are_added_to_any_loss(self, told):
        out, batch = told
        loss = HintLoss(
            each=VRKDLoss(),
            hints=("theirs",),
            attention=(("mine", "far"), ("mine", "theirs")),
            hint_weight=3.0,
            attention_weight=0.5,
        )
        losses, alone = loss(out, batch, 2.0), VRKDLoss()(out, batch, 2.0)
        own, told_maps = out.maps, batch.teacher.maps
        assert losses["hint"] == hint(own["hint.theirs"], told_maps["theirs"])
        looks = sum(attention_transfer(own["mine"], told_maps[name]).item() for name in ("far", "theirs"))
        assert losses["attention"].item() == pytest.approx(looks)
        assert losses["total"].item() == pytest.approx(alone["total"].item() + 3 * losses["hint"].item() + looks / 2)
        assert loss.teacher_maps == ("theirs", "far") and loss.temperature == VRKDLoss().temperature

    def test_without_a_teacher_nothing_is_added(self, told):
        out, batch = told
        losses = HintLoss(hints=("theirs",))(out, batch._replace(teacher=None), 5.0)
        assert losses == KDLoss()(out, batch._replace(teacher=None), 5.0)

    @pytest.mark.parametrize(
        ("loss", "message"),
        [
            (HintLoss(hints=("far",)), r"a Hinted one alone\) has no map hint.far; it has mine, hint.theirs"),
            (HintLoss(attention=(("yours", "far"),)), "student .* has no map yours; it has mine"),
            (HintLoss(attention=(("mine", "near"),)), "the teacher has no map near; it has theirs, far"),
        ],
    )
    def test_maps_that_do_not_exist_are_named(self, told, loss, message):
        with pytest.raises(ValueError, match=message):
            loss(*told, 2.0)

    def test_a_loss_of_no_maps_is_refused(self):
        with pytest.raises(ValueError, match="needs hints .* or attention .*; without them take its each, KDLoss"):
            HintLoss()
