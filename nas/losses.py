"""What a re-ID network is trained for: each paper's sum of its parts, the teacher's temperature over the epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Literal

from nas.data.batches import Batch
from nas.strategies.base import Losses
from students.hinted import answering
from students.losses import cross_entropy, triplet
from students.reid import ReIDOutput
from teachers.signals import attention_transfer, hint, kd, kdas_distillation, vrkd
from teachers.teacher import check_names
from teachers.temperature import Constant, Falling, Linear, Temperature


class Loss(ABC):
    """A frozen dataclass with a field `temperature`, the teacher's over the epochs."""

    temperature: Temperature

    @abstractmethod
    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars: `total`, which is minimised, and the parts it is made of, unweighted. `batch.teacher` is a
        `TeacherOutput`, or None where nobody teaches."""

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        """The teacher's maps that it needs."""
        return ()

    def at(self, epoch: int, num_epochs: int) -> Loss:
        """The loss of the 0-based `epoch` of `num_epochs`: always the same, unless a part joins later."""
        return self


@dataclass(frozen=True, kw_only=True)
class KDASLoss(Loss):
    """`distill_weight * L_d + triplet_weight * L_t` (KDAS-ReID, Eq. 9); without a teacher L_d is the cross-entropy."""

    distill_weight: float = 1.0
    triplet_weight: float = 1.0
    margin: float = 0.3
    temperature: Temperature = field(default_factory=lambda: Linear(start=2.0, end=0.0))
    tied: bool = False
    """Whether the student's temperature follows the teacher's below 1 too: the literal reading."""
    label_smoothing: float = 0.0
    """Of the cross-entropy, where there is no teacher."""

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `distill` (or `identity` without a teacher) and `triplet`."""
        if batch.teacher is None:
            classify = {"identity": cross_entropy(out.logits, batch.labels, self.label_smoothing)}
        else:
            told = batch.teacher.logits
            classify = {"distill": kdas_distillation(out.logits, told, batch.labels, temperature, self.tied)}
        pull = triplet(out.embedding, batch.labels, self.margin)
        total = self.distill_weight * next(iter(classify.values())) + self.triplet_weight * pull
        return {"total": total, **classify, "triplet": pull}


@dataclass(frozen=True, kw_only=True)
class KDLoss(Loss):
    """`alpha * T^2 * KL(p_t || p_s) + (1 - alpha) * CE + triplet_weight * L_t` (fast re-ID, Eq. 3 and Figure 6).

    Eq. 3 is printed with the student's distribution first; its text has the true one, the teacher's, there. Without a
    teacher it is the cross-entropy and the triplet loss.
    """

    alpha: float = 0.1
    temperature: Temperature = field(default_factory=lambda: Constant(value=5.0))
    triplet_weight: float = 1.0
    margin: float = 0.3
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be a share in [0, 1], not {self.alpha}")
        check_stays_above_zero(self.temperature)

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `distill` with a teacher. Raises ValueError for T <= 0."""
        parts = {
            "identity": cross_entropy(out.logits, batch.labels, self.label_smoothing),
            "triplet": triplet(out.embedding, batch.labels, self.margin),
        }
        classify = parts["identity"]
        if batch.teacher is not None:
            parts["distill"] = kd(out.logits, batch.teacher.logits, temperature)
            classify = self.alpha * parts["distill"] + (1 - self.alpha) * parts["identity"]
        return {"total": classify + self.triplet_weight * parts["triplet"], **parts}


@dataclass(frozen=True, kw_only=True)
class VRKDLoss(Loss):
    """`CE + distill_weight * KL(p_t || p_s) + triplet_weight * L_t` (VRKD, Eq. 1), without a teacher its other parts.

    `distill_weight` is the paper's lambda; its training tricks are `label_smoothing=0.1` (LSR) and `triplet_weight=1.0`
    (TRI). `direction="printed"` is Eq. 2 as it stands, see `teachers.signals.vrkd`.
    """

    distill_weight: float = 1.0
    temperature: Temperature = field(default_factory=lambda: Constant(value=2.0))
    direction: Literal["usual", "printed"] = "usual"
    label_smoothing: float = 0.0
    triplet_weight: float = 0.0
    margin: float = 0.3

    def __post_init__(self) -> None:
        if self.distill_weight < 0:
            raise ValueError(f"distill_weight (lambda) must be at least 0, not {self.distill_weight}")
        check_stays_above_zero(self.temperature)

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """Scalars `total`, `identity`, `triplet`, and `distill` with a teacher. Raises ValueError for T <= 0."""
        parts = {
            "identity": cross_entropy(out.logits, batch.labels, self.label_smoothing),
            "triplet": triplet(out.embedding, batch.labels, self.margin),
        }
        total = parts["identity"] + self.triplet_weight * parts["triplet"]
        if batch.teacher is not None:
            parts["distill"] = vrkd(out.logits, batch.teacher.logits, temperature, self.direction)
            total = total + self.distill_weight * parts["distill"]
        return {"total": total, **parts}


@dataclass(frozen=True, kw_only=True)
class BranchesLoss(Loss):
    """Each branch's own loss: networks that share no weights are trained side by side as if each were alone (VRKD,
    section 2.1). Of a network without branches it is the network's own."""

    each: Loss = field(default_factory=VRKDLoss)

    @property
    def temperature(self) -> Temperature:
        return self.each.temperature

    def at(self, epoch: int, num_epochs: int) -> BranchesLoss:
        return replace(self, each=self.each.at(epoch, num_epochs))

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """The sum of each branch's `total`, and of each of its parts."""
        losses = [self.each(branch, batch, temperature) for branch in out.branches or (out,)]
        return {part: sum(one[part] for one in losses) for part in losses[0]}


@dataclass(frozen=True, kw_only=True)
class HintLoss(Loss):
    """`each` + `hint_weight * L_hint + attention_weight * L_at`: what a teacher's maps add, each summed over maps.

    Without a teacher it is `each` alone.
    """

    each: Loss = field(default_factory=KDLoss)
    hints: tuple[str, ...] = ()
    """Maps of the teacher that a `Hinted` student answers through its adapters (FitNets)."""
    attention: tuple[tuple[str, str], ...] = ()
    """Maps of the student, and maps of the teacher that look where they should look (attention transfer)."""
    hint_weight: float = 1.0
    attention_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.teacher_maps:
            raise ValueError(
                "HintLoss needs hints (maps of the teacher) or attention (pairs of maps, student and "
                f"teacher); without them take its each, {type(self.each).__name__}, alone"
            )

    @property
    def temperature(self) -> Temperature:
        return self.each.temperature

    @property
    def teacher_maps(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.hints, *(teacher for _, teacher in self.attention)]))

    def at(self, epoch: int, num_epochs: int) -> HintLoss:
        return replace(self, each=self.each.at(epoch, num_epochs))

    def __call__(self, out: ReIDOutput, batch: Batch, temperature: float) -> Losses:
        """What `each` gives, with a teacher `hint` and `attention`. Raises ValueError naming maps that do not exist."""
        losses = self.each(out, batch, temperature)
        if batch.teacher is None:
            return losses
        own, told, parts = out.maps, batch.teacher.maps, {}
        check_names(
            "student (hint.* has a Hinted one alone)",
            [*map(answering, self.hints), *(student for student, _ in self.attention)],
            own,
        )
        check_names("teacher", self.teacher_maps, told)
        if self.hints:
            parts["hint"] = sum(hint(own[answering(name)], told[name]) for name in self.hints)
        if self.attention:
            parts["attention"] = sum(attention_transfer(own[student], told[name]) for student, name in self.attention)
        weights = {"hint": self.hint_weight, "attention": self.attention_weight}
        total = losses["total"] + sum(weights[name] * part for name, part in parts.items())
        return {**losses, **parts, "total": total}


def check_stays_above_zero(temperature: Temperature) -> None:
    """Raises ValueError for a temperature that falls to 0, where a loss divides by it."""
    if isinstance(temperature, Falling) and temperature.end == 0:
        raise ValueError(
            f"this loss needs a temperature above 0 in every epoch, and {temperature} ends at 0: set its "
            "end to 1, or take KDASLoss"
        )
