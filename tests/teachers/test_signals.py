"""The signals against loops written from their formulas, and at the ends of the temperature scale."""

import math

import pytest
import torch

from teachers.signals import kd, kdas_distillation


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


def naive_kd(student, teacher, temperature):
    total = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = softmax(z_s, temperature), softmax(z_t, temperature)
        total += sum(t * math.log(t / s) for t, s in zip(p_t, p_s, strict=True))
    return temperature**2 * total / len(student)


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
    teacher.requires_grad_()
    (kdas_distillation(student, teacher, labels, temperature) + kd(student, teacher, 2.0)).backward()
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


def test_temperatures_out_of_range_are_refused(batch):
    student, teacher, labels = batch
    for temperature in (-1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be 0"):
            kdas_distillation(student, teacher, labels, temperature)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        kd(student, teacher, 0.0)


def test_different_class_counts_are_named():
    student, teacher, labels = torch.randn(4, 751), torch.randn(4, 767), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        kdas_distillation(student, teacher, labels, 2.0)
    with pytest.raises(ValueError, match="751 student classes and 767 teacher classes"):
        kd(student, teacher, 2.0)
