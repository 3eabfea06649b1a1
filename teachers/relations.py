"""What a teacher's embedding says of the images of a batch to each other: pure functions of two embeddings.

Only relations are compared, so that the embeddings may have different widths: `[B, D]` of the student, `[B, E]` of the
teacher. As in `teachers.signals` the teacher's side is a constant, and everything is computed in at least float32.
ValueError for embeddings of different images. A batch without a pair (for angles, a triple) of images gives 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from students.losses import at_least_float32, without_autocast

EPS = 1e-7
"""Added to a similarity, so that its logarithm is finite (as in the code of Passalis & Tefas)."""


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD's distance-wise loss: Huber's of the distances of each two images (Park et al. 2019, Eq. 5 to 8).

    A distance is Euclidean and over the mean distance in the batch, so that the scale of an embedding says nothing.
    Deviation: the mean over ordered pairs of different images, where Eq. 5 is a sum; the authors' code divides by B^2.
    """
    own, told = (_relative(_pairs(embedding)[0]) for embedding in _both(student, teacher))
    return F.smooth_l1_loss(own, told, reduction="none").sum() / max(len(student) * (len(student) - 1), 1)


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD's angle-wise loss: Huber's of the cosines of the angles of each three images (Park et al. 2019, Eq. 9, 10).

    Where two of three embeddings are the same, there is no angle, and its cosine is 0. It keeps `[B, B, D]` and
    `[B, B, B]` numbers for the gradient. Deviation: the mean over ordered triples of different images; the paper has
    a sum.
    """
    num = len(student)
    own, told = (_cosines(embedding) for embedding in _both(student, teacher))
    different = ~torch.eye(num, dtype=torch.bool, device=student.device)
    each = F.smooth_l1_loss(own, told, reduction="none") * different
    return each.sum() / max(num * (num - 1) * (num - 2), 1)


def similarity_preserving(student: Tensor, teacher: Tensor, centred: bool = False) -> Tensor:
    """The squared distance of what an image's similarities are to student and teacher (Tung & Mori 2019, Eq. 1 to 4).

    A similarity is the product of two embeddings, and the B similarities of an image are a vector of length 1.
    Deviations: of embeddings, where the paper takes the activations of a layer; the mean over images, which is B times
    that of Eq. 4, so that a weight means the same in batches of any size. `centred`: the embeddings less their mean in
    the batch, which the paper does not do: behind a ReLU all of them point the same way.
    """
    with without_autocast(student):
        own, told = (F.normalize(e @ e.T, dim=1) for e in _both(student, teacher, centred))
    return (own - told).square().sum(dim=1).mean()


def pkt(student: Tensor, teacher: Tensor, centred: bool = False) -> Tensor:
    """Probabilistic knowledge transfer: `KL(p || q)` of what each image sees in the others (Passalis & Tefas 2018).

    Of an image, another one has the probability `p(j|i) = K_ij / sum_{k != i} K_ik` with the kernel
    `K = (cosine + 1) / 2` (Eq. 3, 4 and 6). Deviation: the mean over images, where Eq. 7 is a sum. The authors' code
    counts the image itself among the others, and divides by B^2. `centred`: as in `similarity_preserving`.
    """
    own, told = (_probabilities(embedding) for embedding in _both(student, teacher, centred))
    alone = torch.eye(len(student), dtype=torch.bool, device=student.device)
    loss = (torch.xlogy(told, told) - told * own.masked_fill(alone, 1.0).log()).sum() / len(student)
    return loss - loss.detach().clamp(max=0)  # rounding alone makes a divergence negative


def _both(student: Tensor, teacher: Tensor, centred: bool = False) -> tuple[Tensor, Tensor]:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            "relations are compared of embeddings [B, D] and [B, E] of the same images, got "
            f"{list(student.shape)} of the student and {list(teacher.shape)} of the teacher"
        )
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    return (student - student.mean(dim=0), teacher - teacher.mean(dim=0)) if centred else (student, teacher)


def _pairs(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """From each image to each: the distances `[B, B]`, and directions `[B, B, D]` of length 1, 0 where it is 0.

    Without the shortcut of a matrix product, which loses embeddings that are nearly the same.
    """
    apart = embedding - embedding[:, None]
    squared = apart.square().sum(dim=2)
    differs = squared > 0
    distance = torch.where(differs, squared, 1.0).sqrt()  # of which the gradient is finite everywhere
    return distance * differs, apart / distance[:, :, None]


def _relative(distance: Tensor) -> Tensor:
    """Distances `[B, B]` over their mean, which leaves out those of an image to itself."""
    mean = distance.sum() / max(len(distance) * (len(distance) - 1), 1)
    return distance / torch.where(mean > 0, mean, 1.0)


def _cosines(embedding: Tensor) -> Tensor:
    """`[B, B, B]`: at the first image, the cosine of the angle between the second and the third."""
    directions = _pairs(embedding)[1]
    with without_autocast(embedding):
        return directions @ directions.transpose(1, 2)


def _probabilities(embedding: Tensor) -> Tensor:
    """`[B, B]`: in each row the conditional probabilities of the other images; 0 of the image itself."""
    unit = F.normalize(embedding, dim=1)
    with without_autocast(embedding):
        kernel = (unit @ unit.T + 1) / 2 + EPS
    kernel = kernel * ~torch.eye(len(kernel), dtype=torch.bool, device=kernel.device)
    return kernel / kernel.sum(dim=1, keepdim=True).clamp_min(EPS)
