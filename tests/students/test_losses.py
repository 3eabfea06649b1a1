"""The losses against loops written from their formulas, and where the formulas break: no positive, distance 0, bf16."""

import math

import pytest
import torch

from students.losses import cross_entropy, triplet


def naive_cross_entropy(logits, labels, smoothing):
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        target = [smoothing / len(row) + (1 - smoothing) * (c == label) for c in range(len(row))]
        total -= sum(t * (value - log_sum) for t, value in zip(target, row, strict=True))
    return total / len(labels)


def naive_triplet(embedding, labels, margin):
    terms = []
    for a in range(len(labels)):
        distance = [math.dist(embedding[a].tolist(), other.tolist()) for other in embedding]
        positives = [d for i, d in enumerate(distance) if labels[i] == labels[a] and i != a]
        negatives = [d for i, d in enumerate(distance) if labels[i] != labels[a]]
        if positives and negatives:
            terms.append(max(0.0, margin + max(positives) - min(negatives)))
    return sum(terms) / max(len(terms), 1)


def random_batch(seed, num_images=12, num_ids=4, dim=5):
    rng = torch.Generator().manual_seed(seed)
    embedding = torch.randn(num_images, dim, generator=rng, dtype=torch.float64)
    return embedding, torch.randint(num_ids, (num_images,), generator=rng)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_its_formula(smoothing):
    logits, labels = random_batch(0)
    loss = cross_entropy(logits, labels, smoothing)
    assert loss.item() == pytest.approx(naive_cross_entropy(logits, labels, smoothing), rel=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_triplet_is_its_formula(seed, margin):
    embedding, labels = random_batch(seed, num_ids=2 + seed)
    loss = triplet(embedding, labels, margin)
    assert loss.item() == pytest.approx(naive_triplet(embedding, labels, margin), rel=1e-12)


def test_gradients_of_both_losses():
    embedding, labels = random_batch(1)
    embedding.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: cross_entropy(e, labels, 0.1), embedding)
    assert torch.autograd.gradcheck(lambda e: triplet(e, labels, 2.0), embedding)
    assert torch.autograd.gradgradcheck(lambda e: triplet(e, labels, 2.0), embedding)


def test_triplet_of_identical_embeddings_is_the_margin_with_a_finite_gradient():
    embedding = torch.ones(6, 4, requires_grad=True)
    loss = triplet(embedding, torch.tensor([0, 0, 1, 1, 2, 2]), margin=0.3)
    (gradient,) = torch.autograd.grad(loss, embedding, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum() + loss, embedding)
    assert loss.item() == pytest.approx(0.3)
    assert gradient.isfinite().all() and curvature.isfinite().all()


@pytest.mark.parametrize("labels", [[3, 3, 3, 3], [0, 1, 2, 3], [5]])
def test_triplet_without_any_triplet_is_zero_with_a_zero_gradient(labels):
    embedding = torch.randn(len(labels), 3, requires_grad=True)
    loss = triplet(embedding, torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


def test_an_identity_with_one_image_is_a_negative_but_no_anchor():
    embedding = torch.tensor([[0.0], [1.0], [1.5]])
    # Anchors 0 and 1 have d_ap = 1 and d_an = 1.5, 0.5; image 2 has no positive.
    assert triplet(embedding, torch.tensor([0, 0, 1]), margin=1.0).item() == pytest.approx((0.5 + 1.5) / 2)


def test_triplet_tells_near_identical_embeddings_apart_in_float32():
    embedding = torch.full((3, 2), 1000.0)
    embedding[:, 0] += torch.tensor([0.0, 0.5, 0.25])
    assert triplet(embedding, torch.tensor([0, 0, 1]), margin=0.3).item() == pytest.approx(0.3 + 0.5 - 0.25, abs=1e-6)


def test_losses_of_bfloat16_under_autocast_are_float32():
    embedding, labels = random_batch(2)
    rounded = embedding.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [triplet(rounded, labels), cross_entropy(rounded, labels)]
    exact = [naive_triplet(rounded.double(), labels, 0.3), naive_cross_entropy(rounded.double(), labels, 0.0)]
    assert [loss.dtype for loss in losses] == [torch.float32] * 2
    assert torch.stack(losses).tolist() == pytest.approx(exact, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_losses_can_be_captured_as_a_cuda_graph():
    embedding, labels = (tensor.cuda() for tensor in random_batch(3))
    embedding = embedding.float().requires_grad_()
    expected = triplet(embedding, labels) + cross_entropy(embedding, labels)
    torch.autograd.grad(expected, embedding)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = triplet(embedding, labels) + cross_entropy(embedding, labels)
        torch.autograd.grad(captured, embedding)
    graph.replay()
    assert captured.item() == pytest.approx(expected.item())
