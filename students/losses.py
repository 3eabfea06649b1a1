"""What a student is trained on besides its teacher: pure functions of tensors, differentiable twice.

All of them compute in at least float32 whatever autocast hands them, average over the batch, and never wait for the
device (no value is read back), so a training step can be captured as a CUDA graph.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Identity loss of `logits [B, C]` against `labels [B]`, batch mean (kdas Eq. 6, whose second `exp` is a misprint).

    `label_smoothing` in [0, 1] mixes the label with the uniform distribution over all C classes, the label's own
    included (Szegedy et al. 2016).
    """
    return F.cross_entropy(_at_least_float32(logits), labels, label_smoothing=label_smoothing)


def triplet(embedding: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Batch-hard triplet loss of `embedding [B, D]`, `labels [B]` with Euclidean distances (kdas Eq. 8).

    Each anchor's farthest positive (never itself) must be nearer than its nearest negative by `margin`:
    `max(0, margin + d_ap - d_an)`. The mean is over the anchors that have both a positive and a negative; a batch
    without any gives 0 and a zero gradient. Deviations: Eq. 8 is printed without the hinge's `0` and without the sign
    that joins margin and distances, and it sums where this averages (its source, Hermans et al. 2017, does either).
    """
    embedding = _at_least_float32(embedding)
    positive, has_positive, negative, has_negative = _hardest(embedding.detach(), labels)
    hinge = F.relu(margin + _distance(embedding, embedding[positive]) - _distance(embedding, embedding[negative]))
    counted = has_positive & has_negative
    return (hinge * counted).sum() / counted.sum().clamp_min(1)


def _hardest(embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each anchor's farthest positive and nearest negative: an index `[B]` and a mask `[B]` of where there is one."""
    # Without the matrix-multiplication shortcut: it loses near-identical embeddings in float32, and autocast lowers it.
    distance = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels[None, :]
    other_of_same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = distance.masked_fill(~other_of_same, -torch.inf).argmax(dim=1)
    negative = distance.masked_fill(same, torch.inf).argmin(dim=1)
    return positive, other_of_same.any(dim=1), negative, ~same.all(dim=1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances `[B]` of the rows of `a` and `b [B, D]`; of equal rows the gradient is 0, not infinite."""
    squared = (a - b).square().sum(dim=1)
    apart = squared > 0
    return torch.where(apart, squared, 1.0).sqrt() * apart


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
