"""What an index finds, against a full sort."""

import sys

import pytest
import torch

from nas.metrics.index import Index, recall


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(30, 16, generator=rng), torch.randn(900, 16, generator=rng)


def naive(query: torch.Tensor, gallery: torch.Tensor, distance: str) -> torch.Tensor:
    if distance == "cosine":
        return 1 - torch.cosine_similarity(query[:, None], gallery[None], dim=2)
    return (query[:, None] - gallery[None]).norm(dim=2)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [1, 2**26])
def test_the_exact_one_is_a_full_sort(features, distance, block, monkeypatch):
    monkeypatch.setattr("nas.metrics.index.LARGEST_BLOCK", block)
    query, gallery = features
    apart, order = naive(query, gallery, distance).sort(dim=1, stable=True)
    found, distances = Index(gallery, distance).search(query, 25)
    assert torch.equal(found, order[:, :25])
    assert torch.allclose(distances, apart[:, :25], atol=1e-5)


def test_equal_distances_keep_the_gallerys_order_and_k_may_be_too_large():
    gallery = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    found, distances = Index(gallery).search(torch.tensor([[3.0, 0.0]]), 10)
    assert found.tolist() == [[1, 2, 3, 0]] and distances[0, -1] == 1


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_faiss_finds_most_of_it_with_the_same_distances(features, distance, kind):
    pytest.importorskip("faiss")
    query, gallery = features
    exact, apart = Index(gallery, distance).search(query, 10)
    found, distances = Index(gallery, distance, kind).search(query, 10)
    assert recall(found, exact) > (0.95 if kind == "hnsw" else 0.3)
    assert torch.allclose(distances[found == exact], apart[found == exact])


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_a_small_gallery_is_found_whole(kind):
    pytest.importorskip("faiss")
    found, _ = Index(torch.eye(3), "cosine", kind).search(torch.eye(3), 5)
    assert sorted(found[0].tolist()) == [0, 1, 2] and found[:, 0].tolist() == [0, 1, 2]


def test_recall_counts_what_is_found_wherever_it_stands():
    exact = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert recall(torch.tensor([[3, 1, 9], [4, -1, -1]]), exact) == 0.5


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="pip install 'nas-reid\\[deploy\\]'"):
        Index(torch.eye(3), "cosine", "hnsw")


@pytest.mark.parametrize(("gallery", "said"), [(torch.full((2, 2), torch.nan), "finite"), (torch.zeros(2, 2), "zero")])
def test_what_cannot_be_compared_is_refused(gallery, said):
    with pytest.raises(ValueError, match=said):
        Index(gallery)
    with pytest.raises(ValueError, match="equally long"):
        Index(torch.eye(2)).search(torch.eye(3), 1)
