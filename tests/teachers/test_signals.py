"""The signals against loops written from their formulas, and at the ends of the temperature scale."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from teachers.signals import attention_transfer, dist, dkd, hint, kd, kdas_distillation, standardise, vrkd


def softmax(row, temperature):
    highest = max(row)
    exps = [math.exp((value - highest) / temperature) for value in row]
    return [value / sum(exps) for value in exps]


def naive_kdas(student, teacher, temperature, student_temperature):
    total = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        q_s, q_t = softmax(z_s, student_temperature), softmax(z_t, temperature)
        total -= sum(t * math.log(s) for t, s in zip(q_t, q_s, strict=True))
    return total / len(student)


def naive_kl(logits_p, logits_q, temperature):
    """The batch mean of `KL(p || q)`."""
    total = 0.0
    for z_p, z_q in zip(logits_p.tolist(), logits_q.tolist(), strict=True):
        pairs = zip(softmax(z_p, temperature), softmax(z_q, temperature), strict=True)
        total += sum(p * math.log(p / q) for p, q in pairs)
    return total / len(logits_p)


def naive_kd(student, teacher, temperature):
    return temperature**2 * naive_kl(teacher, student, temperature)


def naive_dkd(student, teacher, labels, temperature):
    target = others = 0.0
    for z_s, z_t, label in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        p_s, p_t = (softmax(z, temperature)[label] for z in (z_s, z_t))
        target += p_t * math.log(p_t / p_s) + (1 - p_t) * math.log((1 - p_t) / (1 - p_s))
        rest = [softmax(z[:label] + z[label + 1 :], temperature) for z in (z_t, z_s)]
        others += sum(a * math.log(a / b) for a, b in zip(*rest, strict=True))
    return [temperature**2 * part / len(student) for part in (target, others)]


def naive_resized(channel, height, width):
    """Each cell of the new size is the mean of the cells that it touches."""

    def touched(i, new, old):
        return range(i * old // new, -(-(i + 1) * old // new))

    def cell(i, j):
        values = [channel[r][c] for r in touched(i, height, len(channel)) for c in touched(j, width, len(channel[0]))]
        return sum(values) / len(values)

    return [[cell(i, j) for j in range(width)] for i in range(height)]


def naive_hint(student, teacher):
    height, width = student.shape[2:]
    errors = []
    for image_s, image_t in zip(student.tolist(), teacher.tolist(), strict=True):
        for channel_s, channel_t in zip(image_s, image_t, strict=True):
            resized = naive_resized(channel_t, height, width)
            errors += [(channel_s[i][j] - resized[i][j]) ** 2 for i in range(height) for j in range(width)]
    return sum(errors) / len(errors)


def naive_attention_transfer(student, teacher):
    height, width = student.shape[2:]

    def attention(channels):
        sums = [sum(channel[i][j] ** 2 for channel in channels) for i in range(height) for j in range(width)]
        length = math.sqrt(sum(value**2 for value in sums))
        return [value / length for value in sums]

    total = 0.0
    for image_s, image_t in zip(student.tolist(), teacher.tolist(), strict=True):
        resized = [naive_resized(channel, height, width) for channel in image_t]
        total += sum((s - t) ** 2 for s, t in zip(attention(image_s), attention(resized), strict=True))
    return total / len(student)


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=rng, dtype=torch.float64) * 3
    return student, teacher, torch.randint(5, (6,), generator=rng)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 2.0, 10.0])
def test_kdas_is_its_formula(batch, temperature):
    student, teacher, labels = batch
    loss = kdas_distillation(student, teacher, labels, temperature)
    assert loss.item() == pytest.approx(naive_kdas(student, teacher, temperature, max(temperature, 1.0)), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_tied_kdas_divides_the_student_by_the_same_temperature(batch, temperature):
    student, teacher, labels = batch
    loss = kdas_distillation(student, teacher, labels, temperature, tied=True)
    assert loss.item() == pytest.approx(naive_kdas(student, teacher, temperature, temperature), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_kd_is_its_formula(batch, temperature):
    student, teacher, _ = batch
    assert kd(student, teacher, temperature).item() == pytest.approx(naive_kd(student, teacher, temperature), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_vrkd_is_its_formula(batch, temperature):
    student, teacher, _ = batch
    usual, printed = (vrkd(student, teacher, temperature, direction) for direction in ("usual", "printed"))
    assert usual.item() == pytest.approx(naive_kl(teacher, student, temperature), rel=1e-12)
    assert printed.item() == pytest.approx(-naive_kl(student, teacher, temperature), rel=1e-12)


def test_one_image_and_one_class(batch):
    student, teacher, _ = batch
    expected = naive_kl(teacher[:1], student[:1], 2.0)
    assert vrkd(student[:1], teacher[:1], 2.0).item() == pytest.approx(expected, rel=1e-12)
    assert vrkd(student[:, :1], teacher[:, :1], 2.0).item() == kd(student[:, :1], teacher[:, :1], 2.0).item() == 0.0


@pytest.mark.parametrize("tied", [False, True])
def test_kdas_at_temperature_zero_is_cross_entropy_with_the_labels(batch, tied):
    student, teacher, labels = batch
    loss = kdas_distillation(student, teacher, labels, 0.0, tied=tied)
    assert torch.equal(loss, torch.nn.functional.cross_entropy(student, labels))


@pytest.mark.parametrize("temperature", [1e-3, 1e-8, 1e-30, 5e-324])
def test_kdas_goes_to_the_teachers_answer_as_the_temperature_falls(batch, temperature):
    student, teacher, labels = (tensor.float() if tensor.is_floating_point() else tensor for tensor in batch)
    student.requires_grad_()
    loss = kdas_distillation(student, teacher, labels, temperature)
    (gradient,) = torch.autograd.grad(loss, student)
    limit = torch.nn.functional.cross_entropy(student, teacher.argmax(dim=1))
    (limit_gradient,) = torch.autograd.grad(limit, student)
    torch.testing.assert_close(loss, limit)
    torch.testing.assert_close(gradient, limit_gradient)


@pytest.mark.parametrize("temperature", [1e-8, 5e-324])
def test_tied_kdas_stays_finite(batch, temperature):
    student, teacher, labels = batch
    student = student.float().requires_grad_()
    loss = kdas_distillation(student, teacher.float(), labels, temperature, tied=True)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_gradients_reach_the_student_only(batch, temperature):
    student, teacher, labels = batch
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: kdas_distillation(z, teacher, labels, temperature), student)
    assert torch.autograd.gradcheck(lambda z: kd(z, teacher, temperature + 1), student)
    assert torch.autograd.gradcheck(lambda z: vrkd(z, teacher, temperature + 1, "printed"), student)
    teacher.requires_grad_()
    (
        kdas_distillation(student, teacher, labels, temperature)
        + kd(student, teacher, 2.0)
        + vrkd(student, teacher, 2.0, "printed")
    ).backward()
    assert teacher.grad is None


def test_bfloat16_logits_give_a_float32_loss(batch):
    student, teacher, labels = (tensor.bfloat16() if tensor.is_floating_point() else tensor for tensor in batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = torch.stack([kdas_distillation(student, teacher, labels, 2.0), kd(student, teacher, 2.0)])
    exact = [naive_kdas(student, teacher, 2.0, 2.0), naive_kd(student, teacher, 2.0)]
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(exact, rel=1e-5)


def test_a_teacher_equal_to_the_student_has_nothing_more_to_say(batch):
    student, _, _ = batch
    assert kd(student, student, 4.0).item() == pytest.approx(0.0, abs=1e-15)


class TestHighTemperatures:
    """Where nearly even distributions are compared, float32 must still know by how much they differ."""

    @staticmethod
    def exact(student, teacher, temperature):
        """`T^2 * KL(p_t || p_s)` with 60 digits, of the first rows."""
        with localcontext() as context:
            context.prec, T, total = 60, Decimal(temperature), Decimal(0)
            for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
                exps = [[(Decimal(z) / T).exp() for z in row] for row in (z_t, z_s)]
                p, q = ([each / sum(row) for each in row] for row in exps)
                total += T * T * sum(a * (a / b).ln() for a, b in zip(p, q, strict=True))
            return float(total / len(student))

    @pytest.mark.parametrize("temperature", [10.5, 30.0, 1e2, 1e3, 3e3, 1e4, 1e5, 1e8, 1e20])
    @pytest.mark.parametrize(("scale", "apart"), [(5, 5), (5, 1e-2), (0.1, 0.1), (300, 300)])
    def test_kd_is_what_it_is_in_exact_arithmetic(self, temperature, scale, apart):
        rng = torch.Generator().manual_seed(0)
        teacher = torch.randn(2, 20, generator=rng) * scale + 100
        student = (teacher - 50 + torch.randn(2, 20, generator=rng) * apart).requires_grad_()
        loss = kd(student, teacher, temperature)
        exact = self.exact(student.detach(), teacher, temperature)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact, rel=1e-5)
        assert vrkd(student, teacher, temperature).item() == pytest.approx(exact / temperature**2, rel=1e-4, abs=1e-38)
        (gradient,) = torch.autograd.grad(loss, student)
        assert gradient.isfinite().all() and gradient.any()

    @pytest.mark.parametrize("temperature", [1e30, 1e160, 1.7e308, math.inf])
    def test_no_temperature_is_too_high(self, batch, temperature):
        student, teacher, _ = (each.float() for each in batch)
        limit = (teacher - student).var(dim=1, unbiased=False).mean() / 2
        assert kd(student, teacher, temperature).item() == pytest.approx(limit.item(), rel=1e-5)
        assert vrkd(student, teacher, temperature).item() == 0

    @pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0, 10.0, 11.0, 1e3, 1e20])
    def test_it_is_never_negative(self, temperature):
        rng = torch.Generator().manual_seed(0)
        for _ in range(20):
            teacher = torch.randn(4, 751, generator=rng) * 5
            student = teacher + torch.randn(4, 751, generator=rng) * 1e-6
            assert kd(student, teacher, temperature) >= 0 and vrkd(student, teacher, temperature) >= 0

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 10.0])
    def test_up_to_ten_nothing_has_changed(self, batch, temperature):
        student, teacher, _ = (each.float() for each in batch)
        log_student = torch.nn.functional.log_softmax(student / temperature, dim=1)
        target = torch.nn.functional.softmax(teacher / temperature, dim=1)
        before = temperature**2 * torch.nn.functional.kl_div(log_student, target, reduction="batchmean")
        assert torch.equal(kd(student, teacher, temperature), before)

    @pytest.mark.parametrize("temperature", [10.5, 1e2, 1e5])
    def test_gradients(self, batch, temperature):
        student, teacher, _ = batch
        student.requires_grad_()
        assert torch.autograd.gradcheck(lambda z: kd(z, teacher, temperature), student)
        assert torch.autograd.gradcheck(lambda z: temperature * vrkd(z, teacher, temperature, "printed"), student)
        assert vrkd(student, teacher, temperature, "printed") < 0


def test_temperatures_out_of_range_are_refused(batch):
    student, teacher, labels = batch
    for temperature in (-1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be 0"):
            kdas_distillation(student, teacher, labels, temperature)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            kd(student, teacher, temperature)
        with pytest.raises(ValueError, match="temperature must be above 0"):
            vrkd(student, teacher, temperature, "printed")
        with pytest.raises(ValueError, match="temperature must be above 0"):
            dist(student, teacher, temperature)
        with pytest.raises(ValueError, match="temperature must be above 0"):
            dkd(student, teacher, labels, temperature)
    with pytest.raises(ValueError, match="direction must be 'usual' or 'printed', got 'swapped'"):
        vrkd(student, teacher, 2.0, "swapped")


def test_different_class_counts_are_named():
    student, teacher, labels = torch.randn(4, 751), torch.randn(4, 767), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        kdas_distillation(student, teacher, labels, 2.0)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        kd(student, teacher, 2.0)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        vrkd(student, teacher, 2.0)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        dist(student, teacher, 2.0)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        dkd(student, teacher, labels, 2.0)


class TestStandardised:
    def test_logits_are_the_z_scores_of_scipy(self, batch):
        for logits in batch[:2]:
            expected = torch.from_numpy(zscore(logits.numpy(), axis=1))
            torch.testing.assert_close(standardise(logits), expected, rtol=1e-10, atol=0)

    def test_the_scale_and_the_middle_of_logits_say_nothing(self, batch):
        student, teacher, labels = batch
        how = {"temperature": 2.0, "standardised": True}
        value = kdas_distillation(student, teacher, labels, **how).item()
        assert kdas_distillation(7 * student + 3, teacher / 9, labels, **how).item() == pytest.approx(value, rel=1e-9)
        assert value == pytest.approx(4 * naive_kdas(standardise(student), standardise(teacher), 2.0, 2.0), rel=1e-12)

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_gradients(self, batch, temperature):
        student, teacher, labels = batch
        student.requires_grad_()

        def loss(logits):
            return kdas_distillation(logits, teacher, labels, temperature, standardised=True)

        assert torch.autograd.gradcheck(loss, student) and torch.autograd.gradgradcheck(loss, student)

    def test_at_temperature_zero_the_labels_are_told_as_ever(self, batch):
        assert kdas_distillation(*batch, 0.0, standardised=True) == kdas_distillation(*batch, 0.0)

    def test_a_falling_temperature_brings_no_weight_along(self):
        """Of logits that are nearly even the gradient is that of `T^2 KL`, which T does not change."""
        rng = torch.Generator().manual_seed(0)
        teacher, student = torch.randn(2, 8, 751, generator=rng, dtype=torch.float64)
        student.requires_grad_()

        def size(temperature, standardised):
            how = (student, teacher, torch.zeros(8, dtype=torch.long), temperature, False, standardised)
            return torch.autograd.grad(kdas_distillation(*how), student)[0].norm().item()

        assert size(4.0, False) < size(1.0, False) / 8
        assert size(4.0, True) == pytest.approx(size(1.0, True), rel=0.4)

    def test_logits_that_are_all_the_same_are_no_trap(self):
        logits = torch.full((2, 5), 3.0, requires_grad=True)
        (gradient,) = torch.autograd.grad(standardise(logits).sum(), logits)
        assert not standardise(logits).any() and gradient.isfinite().all()


class TestDIST:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
    def test_it_is_the_correlation_of_numpy(self, batch, temperature):
        student, teacher, _ = batch
        own, told = (torch.softmax(z / temperature, 1).numpy() for z in (student, teacher))
        inter = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(own, told, strict=True)])
        intra = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(own.T, told.T, strict=True)])
        found = [part.item() for part in dist(student, teacher, temperature)]
        assert found == pytest.approx([temperature**2 * (1 - each) for each in (inter, intra)], rel=1e-10)

    def test_probabilities_need_be_no_more_than_correlated(self, batch):
        """The sharper of two correlated outputs is right for DIST's rows of two classes, and wrong for a divergence."""
        teacher = batch[1][:, :2]
        inter, _ = dist(3 * teacher, teacher, 1.0)
        assert inter.item() == pytest.approx(0, abs=1e-12) and kd(3 * teacher, teacher, 1.0) > 0.01

    def test_what_does_not_vary_is_not_correlated(self, batch):
        student, teacher, _ = batch
        assert dist(student[:1], teacher[:1], 2.0)[1] == 4
        assert dist(torch.zeros_like(student), teacher, 1.0)[0] == 1

    def test_gradients_reach_the_student_only(self, batch):
        student, teacher, _ = batch
        student.requires_grad_(), teacher.requires_grad_()
        assert torch.autograd.gradcheck(lambda z: dist(z, teacher, 2.0), student)
        assert torch.autograd.gradgradcheck(lambda z: dist(z, teacher, 2.0), student)
        sum(dist(student, teacher, 2.0)).backward()
        assert teacher.grad is None


class TestDKD:
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_it_is_its_formula(self, batch, temperature):
        found = [part.item() for part in dkd(*batch, temperature)]
        assert found == pytest.approx(naive_dkd(*batch, temperature), rel=1e-12)

    def test_hintons_loss_is_made_of_its_parts(self, batch):
        """Eq. 5: `KL = TCKD + (1 - p_t) * NCKD`, image by image."""
        student, teacher, labels = batch
        total = 0.0
        for image in range(len(labels)):
            one = slice(image, image + 1)
            target, others = dkd(student[one], teacher[one], labels[one], 3.0)
            sure = torch.softmax(teacher[image] / 3, 0)[labels[image]]
            total += (target + (1 - sure) * others).item() / len(labels)
        assert kd(student, teacher, 3.0).item() == pytest.approx(total, rel=1e-12)

    def test_gradients_reach_the_student_only(self, batch):
        student, teacher, labels = batch
        student.requires_grad_(), teacher.requires_grad_()
        assert torch.autograd.gradcheck(lambda z: dkd(z, teacher, labels, 2.0), student)
        assert torch.autograd.gradgradcheck(lambda z: dkd(z, teacher, labels, 2.0), student)
        sum(dkd(student, teacher, labels, 2.0)).backward()
        assert teacher.grad is None

    def test_a_teacher_that_is_sure_still_says_something_of_the_others(self):
        labels = torch.tensor([0])
        teacher, student = torch.tensor([[200.0, 1.0, 0.0]]), torch.tensor([[200.0, 0.0, 1.0]])
        target, others = dkd(student, teacher, labels, 1.0)
        assert target == 0 and others > 0.4 and kd(student, teacher, 1.0) < 1e-6

    def test_one_class_has_no_others(self, batch):
        student, teacher, labels = batch
        with pytest.raises(ValueError, match="at least two classes, got 1"):
            dkd(student[:, :1], teacher[:, :1], torch.zeros_like(labels), 1.0)


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_at_a_high_temperature_single_precision_is_enough(batch, scale):
    student, teacher, labels = (scale * each if each.is_floating_point() else each for each in batch)
    for signal, rest in ((dist, ()), (dkd, (labels,))):
        exact = [part.item() for part in signal(student.float().double(), teacher.float().double(), *rest, 1e3)]
        single = signal(student.float(), teacher.float(), *rest, 1e3)
        assert all(part.dtype == torch.float32 for part in single)
        assert [part.item() for part in single] == pytest.approx(exact, rel=1e-5)


class TestMaps:
    """Hint and attention transfer."""

    @pytest.fixture(params=[(4, 3), (8, 6), (7, 5), (2, 3)], ids="{0[0]}x{0[1]}".format)
    def maps(self, request):
        """A student's 4x3 map and a teacher's of the same size, twice it, no multiple of it, and smaller."""
        rng = torch.Generator().manual_seed(0)
        return (
            torch.randn(2, 3, 4, 3, generator=rng, dtype=torch.float64),
            torch.randn(2, 3, *request.param, generator=rng, dtype=torch.float64),
        )

    def test_they_are_their_formulas(self, maps):
        assert hint(*maps).item() == pytest.approx(naive_hint(*maps), rel=1e-12)
        assert attention_transfer(*maps).item() == pytest.approx(naive_attention_transfer(*maps), rel=1e-12)

    @pytest.mark.parametrize("signal", [hint, attention_transfer])
    def test_gradients_reach_the_student_only(self, maps, signal):
        student, teacher = (each.requires_grad_() for each in maps)
        assert torch.autograd.gradcheck(lambda m: signal(m, teacher), student)
        signal(student, teacher).backward()
        assert teacher.grad is None

    def test_attention_is_blind_to_channels_and_strength(self, maps):
        student, teacher = maps
        value = attention_transfer(student, teacher)
        twice = torch.cat([teacher, teacher], dim=1)
        assert attention_transfer(-3 * student, twice).item() == pytest.approx(value.item())

    @pytest.mark.parametrize("signal", [hint, attention_transfer])
    def test_where_both_agree_nothing_pulls(self, maps, signal):
        student = maps[0].requires_grad_()
        loss = signal(student, student)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == 0.0 and not gradient.any()

    def test_a_map_of_zeros_is_no_trap(self, maps):
        student = torch.zeros_like(maps[0], requires_grad=True)
        loss = attention_transfer(student, maps[1])
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(1.0) and not gradient.any()

    @pytest.mark.parametrize("signal", [hint, attention_transfer])
    def test_bfloat16_maps_give_a_float32_loss(self, maps, signal):
        lowered = [each.bfloat16() for each in maps]
        loss = signal(*lowered)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(signal(*(each.double() for each in lowered)).item(), rel=1e-5)

    def test_maps_that_cannot_be_compared(self):
        student, teacher = torch.zeros(2, 8, 4, 2), torch.zeros(2, 32, 4, 2)
        with pytest.raises(ValueError, match=r"\[2, 8, 4, 2\] of the student and \[2, 32, .*adapter to 32 channels"):
            hint(student, teacher)
        with pytest.raises(ValueError, match="must be of the same images"):
            attention_transfer(student, teacher[:1])
