"""What a student hears from a teacher: pure functions of their outputs.

The teacher's side is a constant (no gradient reaches it), everything is computed in at least float32, and every value
is a mean over the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPEST = 1e-12  # a smaller temperature gives the same one-hot in float32, but can overflow on the way


def kdas_distillation(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, tied: bool = False
) -> Tensor:
    """KDAS's distillation loss `L_d = -sum_c q_t log q_s`, batch mean (kdas Eq. 5-7): logits `[B, C]`, `labels [B]`.

    `q_t = softmax(z_t / T)`: soft at T = 2, one-hot at the teacher's own answer as T -> 0. At T = 0 the loss *is* the
    cross-entropy with the labels, as section 3.3.3 states; teacher and label meet there wherever the teacher is right
    on its training set, elsewhere the last step from T > 0 to T = 0 is a jump.

    Deviation: below T = 1 the student keeps T = 1. `tied=True` is the letter, `q_s = softmax(z_s / T)` at every T: its
    gradient grows as 1/T and the limit is not a cross-entropy.

    Raises ValueError for T < 0 and for logits of different shapes.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 (labels only) or above, got {temperature}")
    _check_same_classes(student_logits, teacher_logits)
    student_logits = _at_least_float32(student_logits)
    if temperature == 0:
        return F.cross_entropy(student_logits, labels)
    student_temperature = max(temperature, SHARPEST if tied else 1.0)
    return F.cross_entropy(student_logits / student_temperature, soft_target(teacher_logits, temperature))


def kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Hinton's distillation loss `T^2 * KL(p_t || p_s)`, both at temperature T > 0, batch mean: logits `[B, C]`.

    T^2 keeps the size of the gradient independent of T (Hinton et al. 2015, section 2). Raises ValueError for T <= 0
    and for logits of different shapes.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    _check_same_classes(student_logits, teacher_logits)
    log_student = F.log_softmax(_at_least_float32(student_logits) / temperature, dim=1)
    target = soft_target(teacher_logits, temperature)
    return temperature**2 * F.kl_div(log_student, target, reduction="batchmean")


def soft_target(teacher_logits: Tensor, temperature: float) -> Tensor:
    """The teacher's class probabilities `softmax(z_t / T)`, `[B, C]`, for T > 0 however small (kdas Eq. 5)."""
    logits = _at_least_float32(teacher_logits.detach())
    return F.softmax(logits / max(temperature, SHARPEST), dim=1)


def _check_same_classes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            "student and teacher must answer the same images with the same classes, got "
            f"{student_logits.shape[-1]} student classes and {teacher_logits.shape[-1]} teacher classes "
            f"(shapes {list(student_logits.shape)} and {list(teacher_logits.shape)}); "
            "take a teacher trained on this data set"
        )


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
