"""Relations of embeddings against loops written from their formulas, and where they must not differ."""

import math
from itertools import permutations

import pytest
import torch

from students.losses import at_least_float32
from teachers.relations import pkt, rkd_angle, rkd_distance, similarity_preserving

RELATIONS = [rkd_distance, rkd_angle, similarity_preserving, pkt]


def huber(a, b):
    return (a - b) ** 2 / 2 if abs(a - b) < 1 else abs(a - b) - 1 / 2


def naive_rkd_distance(student, teacher):
    pairs = list(permutations(range(len(student)), 2))
    sides = []
    for rows in (student.tolist(), teacher.tolist()):
        distances = [math.dist(rows[i], rows[j]) for i, j in pairs]
        sides.append([each / (sum(distances) / len(distances)) for each in distances])
    return sum(map(huber, *sides)) / len(pairs)


def naive_rkd_angle(student, teacher):
    def cosine(rows, i, j, k):
        first, second = ([a - b for a, b in zip(rows[end], rows[j], strict=True)] for end in (i, k))
        return sum(a * b for a, b in zip(first, second, strict=True)) / math.hypot(*first) / math.hypot(*second)

    triples = list(permutations(range(len(student)), 3))
    sides = [[cosine(rows, *triple) for triple in triples] for rows in (student.tolist(), teacher.tolist())]
    return sum(map(huber, *sides)) / len(triples)


def naive_similarity_preserving(student, teacher):
    def similarities(rows):
        products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
        return [each / math.hypot(*row) for row in products for each in row]

    sides = zip(*(similarities(each.tolist()) for each in (student, teacher)), strict=True)
    return sum((a - b) ** 2 for a, b in sides) / len(student)


def naive_pkt(student, teacher):
    def probabilities(rows, i):
        def kernel(j):
            dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            return (dot / math.hypot(*rows[i]) / math.hypot(*rows[j]) + 1) / 2

        others = [j for j in range(len(rows)) if j != i]
        return [kernel(j) / sum(map(kernel, others)) for j in others]

    total = 0.0
    for i in range(len(student)):
        p, q = (probabilities(rows, i) for rows in (teacher.tolist(), student.tolist()))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


NAIVE = dict(
    zip(
        RELATIONS,
        (naive_rkd_distance, naive_rkd_angle, naive_similarity_preserving, naive_pkt),
        strict=True,
    )
)


@pytest.fixture
def embeddings():
    """Of seven images: a student's of 4 numbers, a teacher's of 6."""
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.randn(7, width, generator=rng, dtype=torch.float64) for width in (4, 6))


@pytest.mark.parametrize("relation", RELATIONS)
class TestRelations:
    def test_it_is_its_formula(self, relation, embeddings):
        for num in (3, 7):
            student, teacher = (each[:num] for each in embeddings)
            expected = NAIVE[relation](student, teacher)
            assert expected > 0 and relation(student, teacher).item() == pytest.approx(expected, rel=1e-5)

    def test_gradients_reach_the_student_only_and_can_be_derived_again(self, relation, embeddings):
        student, teacher = (each[:4].requires_grad_() for each in embeddings)
        assert torch.autograd.gradcheck(lambda e: relation(e, teacher), student)
        assert torch.autograd.gradgradcheck(lambda e: relation(e, teacher), student)
        relation(student, teacher).backward()
        assert teacher.grad is None

    def test_neither_the_scale_nor_the_axes_of_an_embedding_say_anything(self, relation, embeddings):
        student, teacher = embeddings
        turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
        assert relation(teacher @ turned * 30, teacher).item() == pytest.approx(0, abs=1e-12)
        value = relation(student, teacher).item()
        assert relation(student / 8, teacher @ turned).item() == pytest.approx(value, rel=1e-5)

    def test_images_change_places_without_effect(self, relation, embeddings):
        student, teacher = embeddings
        order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
        value = relation(student, teacher).item()
        assert relation(student[order], teacher[order]).item() == pytest.approx(value, rel=1e-12)
        assert relation(student[order], teacher).item() != pytest.approx(value, rel=1e-2)

    @pytest.mark.parametrize("rows", [[0], [0, 0], [0, 0, 0], [0, 0, 1, 1]], ids=str)
    def test_images_that_are_the_same_are_no_trap(self, relation, embeddings, rows):
        student, teacher = (each[rows].requires_grad_() for each in embeddings)
        (first,) = torch.autograd.grad(relation(student, teacher), student, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), student, materialize_grads=True, allow_unused=True)
        assert first.isfinite().all() and second.isfinite().all()
        if len(set(rows)) == 1:
            assert relation(student, teacher).item() == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
    def test_no_size_makes_it_infinite(self, relation, embeddings, scale):
        student, teacher = (scale * each.float() for each in embeddings)
        student.requires_grad_()
        (gradient,) = torch.autograd.grad(relation(student, teacher), student)
        assert relation(student, teacher) >= 0 and gradient.isfinite().all()

    def test_bfloat16_is_only_how_the_embeddings_come(self, relation, embeddings):
        lowered = [each.bfloat16() for each in embeddings]
        with torch.autocast("cpu", torch.bfloat16):
            value = relation(*lowered)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(relation(*map(at_least_float32, lowered)).item(), rel=1e-6)

    def test_other_images_are_refused(self, relation, embeddings):
        student, teacher = embeddings
        with pytest.raises(ValueError, match=r"same images, got \[7, 4\] of the student and \[6, 6\] of the teacher"):
            relation(student, teacher[1:])


def test_distances_are_those_of_torch(embeddings):
    own, told = (torch.pdist(each) / torch.pdist(each).mean() for each in embeddings)
    expected = torch.nn.functional.huber_loss(own, told).item()
    assert rkd_distance(*embeddings).item() == pytest.approx(expected, rel=1e-12)


def test_pkt_is_torchs_divergence(embeddings):
    def probabilities(embedding):
        kernel = (torch.cosine_similarity(embedding[:, None], embedding, dim=2) + 1) / 2
        kernel = kernel[~torch.eye(7, dtype=torch.bool)].view(7, 6)
        return kernel / kernel.sum(dim=1, keepdim=True)

    own, told = map(probabilities, embeddings)
    expected = torch.nn.functional.kl_div(own.log(), told, reduction="batchmean").item()
    assert pkt(*embeddings).item() == pytest.approx(expected, rel=1e-5)


def test_a_descent_brings_the_relations_of_a_narrower_embedding_to_the_teachers(embeddings):
    _, teacher = embeddings
    for relation in RELATIONS:
        student = torch.randn(7, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
        optimiser = torch.optim.Adam([student], lr=0.05)
        before = relation(student, teacher).item()
        for _ in range(60):
            optimiser.zero_grad()
            relation(student, teacher).backward()
            optimiser.step()
        assert relation(student, teacher).item() < before / 3
