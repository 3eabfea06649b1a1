"""What a student hears from a teacher: pure functions of their outputs.

The teacher's side is a constant (no gradient reaches it), everything is computed in at least float32, and every value
is a mean over the batch.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from students.losses import at_least_float32, mean_over

HOT = 10.0
"""Above this temperature divergences are computed from the differences of the logits: of two nearly even distributions
float32 keeps too few digits."""
NEARLY_EVEN = 1e-3
"""Up to this, in differences of logits over T, the divergence is its series: the next terms are below 1e-6 of it."""
SHARPEST = 1e-12  # a smaller temperature gives the same one-hot in float32, but can overflow on the way


def kdas_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    tied: bool = False,
    standardised: bool = False,
) -> Tensor:
    """KDAS's distillation loss `L_d = -sum_c q_t log q_s`, batch mean (kdas Eq. 5-7): logits `[B, C]`, `labels [B]`.

    `q_t = softmax(z_t / T)`: soft at T = 2, one-hot at the teacher's own answer as T -> 0. At T = 0 the loss *is* the
    cross-entropy with the labels, as section 3.3.3 states; teacher and label meet there wherever the teacher is right
    on its training set, elsewhere the last step from T > 0 to T = 0 is a jump.

    Deviation: below T = 1 the student keeps T = 1. `tied=True` is the letter, `q_s = softmax(z_s / T)` at every T: its
    gradient grows as 1/T and the limit is not a cross-entropy.

    `standardised`: at T > 0 both logits are z-scores, and the loss has the student's T^2 in front (see `standardise`):
    without that the gradient grows as T falls, and with it the weight of the teacher against other losses. At T = 0 it
    is the cross-entropy of the logits as they are.

    A tensor is a T above 0, at which nobody looks. Raises ValueError for T < 0 and for logits of different shapes.
    """
    known = None if isinstance(temperature, Tensor) else temperature
    if known is not None and not known >= 0:
        raise ValueError(f"temperature must be 0 (labels only) or above, got {temperature}")
    _check_same_classes(student_logits, teacher_logits)
    student_logits = at_least_float32(student_logits)
    if known == 0:
        return F.cross_entropy(student_logits, labels)
    student_temperature = _at_least(temperature, SHARPEST if tied else 1.0)
    if not standardised:
        return F.cross_entropy(student_logits / student_temperature, soft_target(teacher_logits, temperature))
    own, told = standardise(student_logits), standardise(teacher_logits)
    return student_temperature**2 * F.cross_entropy(own / student_temperature, soft_target(told, temperature))


def kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Hinton's distillation loss `T^2 * KL(p_t || p_s)`, both at temperature T > 0, batch mean: logits `[B, C]`.

    T^2 keeps the size of the gradient independent of T (Hinton et al. 2015, section 2). As T grows it goes to half the
    variance of the logits' differences. Raises ValueError for T <= 0 and for logits of different shapes.
    """
    if temperature > HOT:
        _check_same_classes(student_logits, teacher_logits)
        return _hot_divergence(teacher_logits.detach(), student_logits, temperature)
    return temperature**2 * vrkd(student_logits, teacher_logits, temperature)


def vrkd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, direction: Literal["usual", "printed"] = "usual"
) -> Tensor:
    """VRKD's divergence `KL(p_t || p_s)`, both at temperature T > 0, without T^2, batch mean: logits `[B, C]`.

    `direction="printed"` is Eq. 2 as it stands, `-sum_c p_s log(p_s / p_t)`: the roles are swapped, and with its sign
    the loss falls as the student leaves the teacher. Deviation there: the first factor, printed without T, is at T
    too. Raises ValueError for T <= 0, for logits of different shapes and for another direction.
    """
    if direction not in ("usual", "printed"):
        raise ValueError(f"direction must be 'usual' or 'printed', got {direction!r}")
    _check_above_zero(temperature)
    _check_same_classes(student_logits, teacher_logits)
    if temperature > HOT:
        pair = (teacher_logits.detach(), student_logits)
        divergence = _hot_divergence(*(pair if direction == "usual" else pair[::-1]), temperature)
        return (divergence if direction == "usual" else -divergence) / temperature / temperature
    log_student = F.log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    if direction == "usual":
        loss = F.kl_div(log_student, soft_target(teacher_logits, temperature), reduction="batchmean")
        return loss - loss.detach().clamp(max=0)  # rounding alone makes a divergence negative
    log_teacher = F.log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    return -F.kl_div(log_teacher, log_student, reduction="batchmean", log_target=True)


def standardise(logits: Tensor) -> Tensor:
    """Logits `[B, C]` as z-scores over the classes, with mean 0 and variance 1 (Sun et al. 2024, Eq. 9, Algorithm 1).

    With a softmax behind it, the temperature is T times the standard deviation of an image's logits: what is compared
    no longer depends on how large those of student and teacher are. Logits that are all the same stay 0.
    Deviation: 1e-14 is added to the variance, where the authors' code adds 1e-7 to a deviation over C - 1.
    """
    return F.layer_norm(at_least_float32(logits), logits.shape[1:], eps=1e-14)


def dist(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """DIST's `T^2 * L_inter` and `T^2 * L_intra` (Huang et al. 2022, Eq. 8 and 9), logits `[B, C]`, T > 0.

    Each is 1 less the mean Pearson correlation of the probabilities `softmax(z / T)`: of an image's over the classes,
    averaged over images, and of a class's over the images, averaged over classes. T^2 is as in the authors' code. What
    does not vary (a class of a batch of one image) has the correlation 0. Raises ValueError for T <= 0 and for logits
    of different shapes.
    """
    _check_above_zero(temperature)
    _check_same_classes(student_logits, teacher_logits)
    # In float64, as probabilities are nearly even at a high temperature.
    own, told = (F.softmax(z.double() / temperature, dim=1) for z in (student_logits, teacher_logits.detach()))
    scale, kind = temperature**2, at_least_float32(student_logits).dtype
    inter, intra = (scale * (1 - _correlation(own, told, dim).mean()) for dim in (1, 0))
    return inter.to(kind), intra.to(kind)


def dkd(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """DKD's `T^2 * TCKD` and `T^2 * NCKD`, batch means: logits `[B, C]`, `labels [B]`, T > 0 (Zhao et al. 2022, Eq. 5).

    TCKD is the divergence `KL(b_t || b_s)` of the probabilities of the label's class and of all others together, NCKD
    that of the other classes among themselves. `kd` is the mean of `TCKD + (1 - p_t) * NCKD` with the teacher's
    probability p_t of the label, which silences NCKD where a teacher is sure. Raises ValueError for T <= 0, for one
    class alone and for logits of different shapes.
    """
    _check_above_zero(temperature)
    _check_same_classes(student_logits, teacher_logits)
    if student_logits.shape[1] < 2:
        raise ValueError("what a teacher says of the other classes needs at least two classes, got 1: take KDLoss")
    label = F.one_hot(labels, student_logits.shape[1]).bool()
    # In float64, as distributions are nearly even at a high temperature.
    own, told = (_decoupled(z.double() / temperature, label) for z in (student_logits, teacher_logits.detach()))
    scale, kind = temperature**2, at_least_float32(student_logits).dtype
    pairs = zip(own, told, strict=True)
    target, others = (scale * (log_t.exp() * (log_t - log_s)).sum(dim=1).mean() for log_s, log_t in pairs)
    return target.to(kind), others.to(kind)


def hint(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """FitNets' hint: the mean squared error of two maps `[B, C, H, W]`, the student's behind an adapter.

    A teacher's map of another size is brought to the student's by adaptive average pooling, which repeats cells where
    the student's is finer. Deviation: a mean over all elements, where Romero et al. 2015, Eq. 3 has half the sum.
    Raises ValueError for maps of different images or channels.
    """
    if student_map.shape[:2] != teacher_map.shape[:2]:
        raise ValueError(
            "the maps of a hint must be of the same images and have the same channels, got "
            f"{list(student_map.shape)} of the student and {list(teacher_map.shape)} of the teacher: the "
            f"student's needs an adapter to {teacher_map.shape[1]} channels"
        )
    return F.mse_loss(at_least_float32(student_map), _at_size_of(student_map, teacher_map))


def attention_transfer(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """How far two maps `[B, C, H, W]` look elsewhere: the squared distance of their attention maps, in [0, 2].

    An attention map is the sum of squares over the channels, as a vector of length 1 (Zagoruyko & Komodakis 2017,
    section 3.1); a map of zeros has none and stays zero. The channels may differ; a teacher's map of another size is
    treated as in `hint`. Deviation: their Eq. 2 does not square the distance, whose gradient is then undefined where
    the two agree. Raises ValueError for maps of different images.
    """
    if len(student_map) != len(teacher_map):
        raise ValueError(
            "the maps of an attention transfer must be of the same images, got "
            f"{list(student_map.shape)} of the student and {list(teacher_map.shape)} of the teacher"
        )
    student, teacher = _attention(at_least_float32(student_map)), _attention(_at_size_of(student_map, teacher_map))
    return (student - teacher).square().sum(dim=1).mean()


def soft_detection(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    background_weight: float = 1.5,
    squared: bool = False,
    sampled: Tensor | None = None,
) -> Tensor:
    """What a detector's classes say: `-sum_c w_c P_t log P_s`, mean over the `sampled [N]` boxes (Chen et al. 2017,
    Eq. 3); None: all are.

    Logits `[N, 2]` of background and person, or `[N]` of a person alone, which is the same with 0 for the background.
    P = softmax(z / T), `w_c` is `background_weight` for the background, else 1. No boxes: 0. `squared` multiplies by
    T^2, as Hinton et al. 2015 do and the person search paper, at T = 10, does not: without it two classes are nearly
    even at such a T, and the gradient is about T^2 times smaller than at T = 1. Raises ValueError for T <= 0 and for
    logits of different shapes.
    """
    _check_above_zero(temperature)
    _check_same_boxes(student_logits, teacher_logits)
    student, teacher = (_two_classes(at_least_float32(z)) / temperature for z in (student_logits, teacher_logits))
    weights = student.new_tensor([background_weight, 1.0])
    each = -(weights * F.softmax(teacher.detach(), dim=1) * F.log_softmax(student, dim=1)).sum(dim=1)
    sampled = torch.ones_like(each, dtype=torch.bool) if sampled is None else sampled
    return mean_over(each, sampled) * (temperature**2 if squared else 1.0)


def bounded_regression(
    deltas: Tensor,
    teacher_deltas: Tensor,
    targets: Tensor,
    labels: Tensor,
    sampled: Tensor | None = None,
    margin: float = 0.0,
) -> Tensor:
    """The squared error of boxes where the student is worse than its teacher (Chen et al. 2017, Eq. 4).

    `deltas`, the teacher's and `targets`: `[..., 4]`. A box counts `|R_s - t|^2` where that and `margin` exceed
    `|R_t - t|^2`, else 0. The sum over the `sampled [...]` boxes whose label `[...]` is 1, over the number of all
    sampled, as `students.losses.box_regression`; None: all are. Raises ValueError for boxes of different numbers.
    """
    _check_same_boxes(deltas, teacher_deltas)
    deltas = at_least_float32(deltas)
    sampled = torch.ones_like(labels, dtype=torch.bool) if sampled is None else sampled
    error = (deltas - targets).square().sum(dim=-1)
    bound = (at_least_float32(teacher_deltas.detach()) - targets).square().sum(dim=-1)
    counted = sampled & (labels == 1) & (error.detach() + margin > bound)
    return mean_over(error, counted, sampled)


def soft_target(teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """The teacher's class probabilities `softmax(z_t / T)`, `[B, C]`, for T > 0 however small (kdas Eq. 5)."""
    logits = at_least_float32(teacher_logits.detach())
    return F.softmax(logits / _at_least(temperature, SHARPEST), dim=1)


def _at_least(temperature: float | Tensor, least: float) -> float | Tensor:
    return temperature.clamp_min(least) if isinstance(temperature, Tensor) else max(temperature, least)


def _hot_divergence(logits_p: Tensor, logits_q: Tensor, temperature: float) -> Tensor:
    """`T^2 * KL(p || q)` of softmaxes at a high T, batch mean, for any T: logits `[B, C]`.

    With d the difference of the logits less its mean under p, `KL = log E_p[exp(d / T)]`. Where all of d is small
    against T that is `E_p[d^2] / 2 T^2 + E_p[d^3] / 6 T^3`, in which nothing cancels.
    """
    p, q = logits_p.double(), logits_q.double()
    share, difference = F.softmax(p / temperature, dim=1), q - p
    difference = difference - (share * difference).sum(dim=1, keepdim=True)
    scaled = difference / temperature
    series = (share * difference.square() * (1 / 2 + scaled / 6)).sum(dim=1)
    whole = (F.log_softmax(p / temperature, dim=1) + scaled).logsumexp(dim=1)
    is_even = scaled.abs().amax(dim=1) < NEARLY_EVEN
    loss = series.where(is_even, whole * min(temperature, 1e100) ** 2).mean()  # 1e100: beyond it T^2 is no number
    return loss.to(at_least_float32(logits_q).dtype)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's along `dim`; 0 where one does not vary."""
    a, b = (F.normalize(z - z.mean(dim=dim, keepdim=True), dim=dim, eps=SHARPEST) for z in (a, b))
    return (a * b).sum(dim=dim)


def _decoupled(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of the class that `label [B, C]` marks and of all others together, `[B, 2]`, and of the others
    among themselves, `[B, C]`, where the label's own is that of a probability of 0."""
    others = logits.masked_fill(label, -torch.inf).logsumexp(dim=1, keepdim=True)
    target = logits.masked_fill(~label, 0.0).sum(dim=1, keepdim=True)
    among = (logits - others).masked_fill(label, torch.finfo(logits.dtype).min)
    return F.log_softmax(torch.cat([target, others], dim=1), dim=1), among


def _attention(feature_map: Tensor) -> Tensor:
    """`[B, H * W]`, each row of length 1."""
    return F.normalize(feature_map.square().sum(dim=1).flatten(1), dim=1)


def _at_size_of(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    teacher_map = at_least_float32(teacher_map.detach())
    size = (student_map.shape[2], student_map.shape[3])
    return teacher_map if teacher_map.shape[2:] == size else F.adaptive_avg_pool2d(teacher_map, size)


def _two_classes(logits: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(logits), logits], dim=1) if logits.ndim == 1 else logits


def _check_above_zero(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def _check_same_boxes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            "student and teacher must answer the same boxes, got answers of the shapes "
            f"{list(student.shape)} and {list(teacher.shape)}: give them the same anchors"
        )


def _check_same_classes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            "student and teacher must answer the same images with the same classes, got "
            f"{student_logits.shape[-1]} student classes and {teacher_logits.shape[-1]} teacher classes "
            f"(shapes {list(student_logits.shape)} and {list(teacher_logits.shape)}); "
            "take a teacher trained on this data set"
        )
