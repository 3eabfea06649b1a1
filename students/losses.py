"""What a student is trained on besides its teacher: pure functions of tensors, differentiable twice.

All of them compute in at least float32 whatever autocast hands them, average over the batch, and never wait for the
device (no value is read back), so a training step can be captured as a CUDA graph.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import combinations, permutations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Identity loss of `logits [B, C]` against `labels [B]`, batch mean (kdas Eq. 6, whose second `exp` is a misprint).

    `label_smoothing` in [0, 1] mixes the label with the uniform distribution over all C classes, the label's own
    included (Szegedy et al. 2016).
    """
    return F.cross_entropy(at_least_float32(logits), labels, label_smoothing=label_smoothing)


def oim(logits: Tensor, labels: Tensor) -> Tensor:
    """Online instance matching: cross-entropy of `logits [R, P + Q]` against `labels [R]` (Xiao et al. 2017, Eq. 3).

    The mean is over the regions whose label is an identity (0 and above) that has a row: its logit is above -inf.
    Where there is none, 0 and a zero gradient. Columns of -inf count in no softmax.
    """
    logits = at_least_float32(logits)
    own = logits.gather(1, labels.clamp_min(0)[:, None]).squeeze(1)
    counted = (labels >= 0) & (own > -torch.inf)
    logits = logits.where(counted[:, None], 0.0)  # of a row of nothing but -inf the gradient would be NaN
    each = F.cross_entropy(logits, labels.where(counted, 0), reduction="none")
    return mean_over(each, counted)


def objectness(logits: Tensor, labels: Tensor, sampled: Tensor) -> Tensor:
    """Whether anchors have a person: binary cross-entropy of `logits [B, A]` against `labels [B, A]`, 1 and 0.

    The mean is over the `sampled [B, A]` anchors of all images (Ren et al. 2015, Eq. 1).
    """
    logits = at_least_float32(logits)
    each = F.binary_cross_entropy_with_logits(logits, (labels == 1).to(logits.dtype), reduction="none")
    return mean_over(each, sampled)


def box_regression(deltas: Tensor, targets: Tensor, labels: Tensor, sampled: Tensor | None = None) -> Tensor:
    """Smooth L1 of `deltas [..., 4]` against `targets [..., 4]`, quadratic below a difference of 1/9.

    The sum over the `sampled [...]` boxes whose label `[...]` is 1, over the number of all sampled (as Detectron).
    None: all are.
    """
    deltas = at_least_float32(deltas)
    sampled = torch.ones_like(labels, dtype=torch.bool) if sampled is None else sampled
    each = F.smooth_l1_loss(deltas, targets.to(deltas.dtype), reduction="none", beta=1 / 9).sum(dim=-1)
    return mean_over(each, sampled & (labels == 1), sampled)


def similarity(logits: Tensor, same: Tensor) -> Tensor:
    """Whether regions are the query's person: cross-entropy of `logits [R, 2]` against `same [R]`, 1 and 0.

    The mean is over the persons: `same` is -1 for regions of nobody (Munjal et al. 2019, QSimNet).
    """
    each = F.cross_entropy(at_least_float32(logits), same.clamp_min(0), reduction="none")
    return mean_over(each, same >= 0)


def triplet(embedding: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Batch-hard triplet loss of `embedding [B, D]`, `labels [B]` with Euclidean distances (kdas Eq. 8).

    Each anchor's farthest positive (never itself) must be nearer than its nearest negative by `margin`:
    `max(0, margin + d_ap - d_an)`. The mean is over the anchors that have both a positive and a negative; a batch
    without any gives 0 and a zero gradient. Deviations: Eq. 8 is printed without the hinge's `0` and without the sign
    that joins margin and distances, and it sums where this averages (its source, Hermans et al. 2017, does either).
    """
    embedding = at_least_float32(embedding)
    return _batch_hard(embedding, embedding, labels, margin)


def ksl_pp(logits: Sequence[Tensor], detached: bool = True) -> Tensor:
    """KSL-PP: each branch imitates each other one, `sum over u != v of KL(p_u || p_v)`, batch mean (ksl Eq. 4).

    `logits`: `[B, C]` of each branch. `detached`: what is imitated, p_u, is a constant (mutual imitation); the paper
    does not say. One branch alone has nobody to agree with: as all of KSL's constraints, 0 and a zero gradient.
    """
    log_p = [F.log_softmax(at_least_float32(z), dim=1) for z in logits]
    return sum((_kl(log_u, log_v, detached) for log_u, log_v in permutations(log_p, 2)), _zero(log_p))


def ksl_pa(logits: Sequence[Tensor], detached: bool = True) -> Tensor:
    """KSL-PA: each branch imitates the average of the others, `sum over b of KL(avg_b || p_b)` (ksl Eq. 5 and 6).

    As `ksl_pp`; avg_b is the mean of the other branches' probabilities.
    """
    log_p = [F.log_softmax(at_least_float32(z), dim=1) for z in logits]
    averages = [torch.logsumexp(torch.stack(others), dim=0) - math.log(len(others)) for others in _others(log_p)]
    return sum((_kl(average, log_b, detached) for average, log_b in zip(averages, log_p, strict=False)), _zero(log_p))


def ksl_ep(embeddings: Sequence[Tensor]) -> Tensor:
    """KSL-EP: Euclidean distance of an image's embeddings in two branches, `[B, D]` each, batch mean (ksl Eq. 8).

    Summed over unordered pairs of branches; both are pulled towards each other.
    """
    embeddings = [at_least_float32(e) for e in embeddings]
    return sum((_distance(u, v).mean() for u, v in combinations(embeddings, 2)), _zero(embeddings))


def ksl_ea(embeddings: Sequence[Tensor], detached: bool = True) -> Tensor:
    """KSL-EA: Euclidean distance of a branch's embedding to the mean of the others', batch mean (ksl Eq. 9 and 10).

    Summed over branches, `[B, D]` each. `detached`: the mean is a constant; the paper does not say.
    """
    embeddings = [at_least_float32(e) for e in embeddings]
    means = [torch.stack(others).mean(dim=0) for others in _others(embeddings)]
    return sum(
        (_distance(mean.detach() if detached else mean, e).mean() for mean, e in zip(means, embeddings, strict=False)),
        _zero(embeddings),
    )


def ksl_h(embeddings: Sequence[Tensor], labels: Tensor, margin: float = 0.3) -> Tensor:
    """KSL-H: `triplet` with the anchors of one branch, and positive and negative of another (ksl Eq. 11).

    Summed over ordered pairs of branches; `embeddings`: `[B, D]` of each, `labels [B]`. The anchor's own image in the
    other branch is no positive (`m != n`). The mean is over the anchors that have a positive and a negative.
    """
    embeddings = [at_least_float32(e) for e in embeddings]
    return sum((_batch_hard(u, v, labels, margin) for u, v in permutations(embeddings, 2)), _zero(embeddings))


def _others(branches: Sequence[Tensor]) -> list[list[Tensor]]:
    """For each branch all others; of one branch alone nothing, as there are none to average."""
    return [[*branches[:b], *branches[b + 1 :]] for b in range(len(branches))] if len(branches) > 1 else []


def _kl(log_target: Tensor, log_p: Tensor, detached: bool) -> Tensor:
    """`KL(target || p)` of log probabilities `[B, C]`, batch mean."""
    return F.kl_div(log_p, log_target.detach() if detached else log_target, reduction="batchmean", log_target=True)


def _zero(branches: Sequence[Tensor]) -> Tensor:
    """0 with a zero gradient, whatever the branches hold."""
    return branches[0][:0].sum()


def _batch_hard(anchors: Tensor, others: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean hinge of `anchors [B, D]` against the same images' embeddings `others [B, D]`; see `triplet`."""
    positive, has_positive, negative, has_negative = _hardest(anchors.detach(), others.detach(), labels)
    hinge = F.relu(margin + _distance(anchors, others[positive]) - _distance(anchors, others[negative]))
    counted = has_positive & has_negative
    return mean_over(hinge, counted)


def _hardest(anchors: Tensor, others: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each anchor's farthest positive and nearest negative: an index `[B]` and a mask `[B]` of where there is one."""
    # Without the matrix-multiplication shortcut: it loses near-identical embeddings in float32, and autocast lowers it.
    distance = torch.cdist(anchors, others, compute_mode="donot_use_mm_for_euclid_dist")
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


def mean_over(each: Tensor, counted: Tensor, sampled: Tensor | None = None) -> Tensor:
    """The sum of `each` where `counted`, over the number of those `sampled`, by default of the counted; of none 0."""
    return (each * counted).sum() / (counted if sampled is None else sampled).sum().clamp_min(1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 widened; float32 and float64 as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> AbstractContextManager:
    """Lets products on the device of `tensor` keep the precision of what they are made of."""
    if tensor.is_meta:  # which autocast does not know
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)
