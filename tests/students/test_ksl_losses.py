"""KSL's constraints against loops written from its equations; their gradients; what has nothing to agree on."""

import math
from itertools import combinations, permutations

import pytest
import torch

from students.losses import ksl_ea, ksl_ep, ksl_h, ksl_pa, ksl_pp, triplet

LOGITS = [ksl_pp, ksl_pa]
EMBEDDINGS = [ksl_ep, ksl_ea]
LABELS = torch.tensor([0, 0, 1, 1, 2, 0])


def branches(num_branches=3, num_images=6, dim=4, seed=0, dtype=torch.float64):
    """`[B, D]` of each branch."""
    rng = torch.Generator().manual_seed(seed)
    return list(torch.randn(num_branches, num_images, dim, generator=rng, dtype=dtype))


def softmax(row):
    exp = [math.exp(z) for z in row]
    return [e / sum(exp) for e in exp]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mean_of_others(rows, b):
    others = rows[:b] + rows[b + 1 :]
    return [sum(values) / len(others) for values in zip(*others, strict=True)]


def naive_pp(images):
    """Eq. 4; `images`: of each image its rows in all branches."""
    return sum(kl(softmax(u), softmax(v)) for rows in images for u, v in permutations(rows, 2)) / len(images)


def naive_pa(images):
    """Eq. 5 and 6."""
    total = 0.0
    for rows in images:
        p = [softmax(row) for row in rows]
        total += sum(kl(mean_of_others(p, b), p[b]) for b in range(len(p)))
    return total / len(images)


def naive_ep(images):
    """Eq. 8."""
    return sum(math.dist(u, v) for rows in images for u, v in combinations(rows, 2)) / len(images)


def naive_ea(images):
    """Eq. 9 and 10."""
    return sum(math.dist(mean_of_others(rows, b), rows[b]) for rows in images for b in range(len(rows))) / len(images)


def naive_h(embeddings, labels, margin):
    """Eq. 11, averaged over the anchors that have a positive and a negative."""
    total = 0.0
    for u, v in permutations([e.tolist() for e in embeddings], 2):
        terms = []
        for a, anchor in enumerate(u):
            positives = [math.dist(anchor, v[i]) for i in range(len(v)) if labels[i] == labels[a] and i != a]
            negatives = [math.dist(anchor, v[i]) for i in range(len(v)) if labels[i] != labels[a]]
            if positives and negatives:
                terms.append(max(0.0, max(positives) - min(negatives) + margin))
        total += sum(terms) / max(len(terms), 1)
    return total


@pytest.mark.parametrize("num_branches", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "loss, naive", [(ksl_pp, naive_pp), (ksl_pa, naive_pa), (ksl_ep, naive_ep), (ksl_ea, naive_ea)]
)
def test_agreement_is_its_formula(loss, naive, num_branches):
    said = branches(num_branches)
    images = [list(rows) for rows in zip(*(b.tolist() for b in said), strict=True)]
    expected = naive(images) if num_branches > 1 else 0.0
    assert loss(said).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("num_branches", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_hard_samples_are_its_formula(num_branches, margin, seed):
    said = branches(num_branches, seed=seed)
    expected = naive_h(said, LABELS.tolist(), margin)
    assert ksl_h(said, LABELS, margin).item() == pytest.approx(expected, rel=1e-12)


def test_hard_samples_of_a_branch_and_itself_are_the_triplet_loss():
    (one,) = branches(1)
    assert ksl_h([one, one], LABELS, 2.0).item() == pytest.approx(2 * triplet(one, LABELS, 2.0).item(), rel=1e-12)


@pytest.mark.medium
@pytest.mark.parametrize(
    "loss",
    [
        lambda s: ksl_pp(s, detached=False),
        lambda s: ksl_pa(s, detached=False),
        ksl_ep,
        lambda s: ksl_ea(s, detached=False),
        lambda s: ksl_h(s, LABELS, 2.0),
    ],
    ids=["pp", "pa", "ep", "ea", "h"],
)
def test_gradients_of_the_whole_formula(loss):
    said = [b.requires_grad_() for b in branches()]
    assert torch.autograd.gradcheck(lambda *s: loss(s), said)
    assert torch.autograd.gradgradcheck(lambda *s: loss(s), said)


@pytest.mark.parametrize("loss", [ksl_pp, ksl_pa, ksl_ea])
def test_what_is_imitated_is_a_constant(loss):
    """The gradient is that of the same sum in which all others are constants, not that of the whole formula."""
    said, constants = branches(), branches()
    for b in said:
        b.requires_grad_()
    gradients = torch.autograd.grad(loss(said), said)
    for place, gradient in enumerate(gradients):
        mixed = [*constants[:place], said[place], *constants[place + 1 :]]
        assert torch.allclose(gradient, torch.autograd.grad(loss(mixed), said[place])[0], rtol=1e-10, atol=1e-12)
    through = torch.autograd.grad(loss(said, detached=False), said)
    assert not torch.allclose(gradients[0], through[0])


@pytest.mark.parametrize("loss", [*LOGITS, *EMBEDDINGS])
def test_branches_that_say_the_same_agree_with_a_finite_gradient(loss):
    same = [torch.ones(2, 3).requires_grad_() for _ in range(3)]
    value = loss(same)
    gradients = torch.autograd.grad(value, same)
    assert value.item() == pytest.approx(0.0, abs=1e-7)
    assert torch.stack(gradients).abs().max() < 1e-6


@pytest.mark.parametrize("loss", [*LOGITS, *EMBEDDINGS, lambda said: ksl_h(said, LABELS)])
def test_one_branch_has_a_zero_gradient(loss):
    (alone,) = branches(1)
    alone.requires_grad_()
    value = loss([alone])
    assert value.item() == 0.0 and not torch.autograd.grad(value, alone)[0].any()


@pytest.mark.parametrize("labels", [[3, 3, 3, 3], [0, 1, 2, 3], [5], [1, 1], [0, 1]])
def test_a_batch_without_hard_samples_has_a_zero_gradient(labels):
    """One identity alone has no negative, two images of two identities have no positive."""
    said = [b.requires_grad_() for b in branches(num_images=len(labels))]
    value = ksl_h(said, torch.tensor(labels))
    assert value.item() == 0.0 and not any(g.any() for g in torch.autograd.grad(value, said))


@pytest.mark.parametrize("loss", LOGITS)
def test_certain_branches_stay_finite(loss):
    """The logarithm of an average of probabilities that vanish in float32."""
    sure = [
        torch.tensor([[300.0, 0.0, 0.0]]).requires_grad_(),
        torch.tensor([[0.0, 300.0, 0.0]]).requires_grad_(),
        torch.tensor([[300.0, 0.0, 0.0]]).requires_grad_(),
    ]
    value = loss(sure)
    gradients = torch.stack(torch.autograd.grad(value, sure))
    assert value.isfinite() and gradients.isfinite().all() and gradients.any()


def test_under_bfloat16_autocast_they_are_float32():
    said = branches(dtype=torch.float32)
    rounded = [b.bfloat16() for b in said]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = [loss(rounded) for loss in (*LOGITS, *EMBEDDINGS)] + [ksl_h(rounded, LABELS)]
    exact = [loss([b.double() for b in rounded]) for loss in (*LOGITS, *EMBEDDINGS)]
    exact.append(ksl_h([b.double() for b in rounded], LABELS))
    assert {value.dtype for value in values} == {torch.float32}
    assert torch.stack(values).tolist() == pytest.approx(torch.stack(exact).tolist(), rel=1e-5)
