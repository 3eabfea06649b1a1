"""The losses of proposals and boxes against loops in float64. (Those of identities: test_identity_table.py.)"""

import math

import pytest
import torch

from students.losses import box_regression, objectness

RNG = torch.Generator().manual_seed(0)
LABELS = torch.tensor([[1, 0, -1, 1], [0, 0, 1, -1]])
SAMPLED = torch.tensor([[True, True, False, False], [False, True, True, False]])
LOGITS = torch.randn(2, 4, generator=RNG, dtype=torch.float64)
DELTAS, TARGETS = (scale * torch.randn(2, 4, 4, generator=RNG, dtype=torch.float64) for scale in (1, 0.2))


def test_objectness_is_its_formula():
    terms = [
        math.log1p(math.exp(-z if label == 1 else z))
        for z, label, sampled in zip(LOGITS.flatten(), LABELS.flatten(), SAMPLED.flatten(), strict=True)
        if sampled
    ]
    assert objectness(LOGITS, LABELS, SAMPLED).item() == pytest.approx(sum(terms) / 4, rel=1e-12)


def smooth_l1(difference, beta=1 / 9):
    return 0.5 * difference**2 / beta if abs(difference) < beta else abs(difference) - beta / 2


@pytest.mark.parametrize("sampled", [SAMPLED, None])
def test_regression_is_over_persons_and_divided_by_all(sampled):
    total, counted = 0.0, torch.ones_like(SAMPLED) if sampled is None else sampled
    for i in range(2):
        for j in range(4):
            if counted[i, j] and LABELS[i, j] == 1:
                total += sum(smooth_l1(float(d - t)) for d, t in zip(DELTAS[i, j], TARGETS[i, j], strict=True))
    loss = box_regression(DELTAS, TARGETS, LABELS, sampled)
    assert loss.item() == pytest.approx(total / counted.sum().item(), rel=1e-12)


def test_gradients():
    logits, deltas = LOGITS.clone().requires_grad_(), DELTAS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: objectness(z, LABELS, SAMPLED), logits)
    assert torch.autograd.gradgradcheck(lambda z: objectness(z, LABELS, SAMPLED), logits)
    assert torch.autograd.gradcheck(lambda d: box_regression(d, TARGETS, LABELS, SAMPLED), deltas)


def test_without_persons_nothing_is_learned_of_boxes():
    deltas = DELTAS.clone().requires_grad_()
    loss = box_regression(deltas, TARGETS, torch.zeros_like(LABELS), torch.zeros_like(SAMPLED))
    loss.backward()
    assert loss.item() == 0 and not deltas.grad.any()


def test_half_precision_is_widened():
    for loss in (objectness(LOGITS.bfloat16(), LABELS, SAMPLED), box_regression(DELTAS.half(), TARGETS, LABELS)):
        assert loss.dtype == torch.float32
