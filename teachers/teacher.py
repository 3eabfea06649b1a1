"""The teacher: a trained network that is listened to and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn


class Teacher:
    """A frozen network in eval mode; what it says is a constant.

    It is no module: it enters no student's parameters, state dict, optimiser or `train()`.
    """

    def __init__(
        self, net: nn.Module, autocast: Callable[[], AbstractContextManager], maps: Sequence[str] = ()
    ) -> None:
        """`maps`: those of the network that are to be kept of each batch."""
        self._net: Any = net.eval().requires_grad_(False)
        self._autocast = autocast
        self._maps = tuple(maps)

    def of_batch(self, batch: Any) -> Any:
        """What it says of the images of a batch."""
        return self(batch.images)

    def __call__(self, images: Any) -> Any:
        """What the network says of a batch's images, by its `teach(images, maps)`: float32 constants.

        The student sees the same augmented view. Raises ValueError when it does not have a map that was asked for.
        """
        with torch.inference_mode(), self._autocast():
            said = self._net.teach(images, self._maps)
        return constants(said)


class TeachableBatch(Protocol):
    """A batch (a named tuple) with images, and a place for what a teacher says of them."""

    @property
    def images(self) -> Any: ...

    def _replace(self, *, teacher: Any) -> Self: ...


class BatchTeacher(Protocol):
    """What is asked about batches: a teacher, or one whose answers are known."""

    def of_batch(self, batch: Any) -> Any:
        """What it says of the images of a batch."""


B = TypeVar("B", bound=TeachableBatch)


def with_teacher(batches: Iterable[B], teacher: BatchTeacher | None) -> Iterator[B]:
    """The batches with what the teacher says of each: one forward pass, however often the batch is used."""
    for batch in batches:
        yield batch if teacher is None else batch._replace(teacher=teacher.of_batch(batch))


def check_identities(teacher: str, known: Sequence[int], identities: Sequence[int], data: str) -> None:
    """Raises ValueError unless what `teacher` knows are the identities of `data`, in their order."""
    if tuple(known) == tuple(identities):
        return
    if len(known) != len(identities):
        differ = f"{teacher} knows {len(known)} identities, {data} has {len(identities)}"
    else:
        place = next(i for i, pair in enumerate(zip(known, identities, strict=True)) if len(set(pair)) > 1)
        differ = f"for {teacher} identity number {place} is {known[place]}, that of {data} is {identities[place]}"
    raise ValueError(
        f"teacher and data set must have the same identities in the same order: {differ}. "
        "Train the teacher on this data set with `nas teach`"
    )


def constants(said: Any) -> Any:
    """The same with its tensors, in tuples and mappings too, as float32 copies that autograd may use, which it may not
    of tensors made in inference mode."""
    match said:
        case Tensor():
            return (said.float() if said.is_floating_point() else said).clone()
        case Mapping():
            return {name: constants(each) for name, each in said.items()}
        case tuple() if hasattr(said, "_make"):
            return said._make(map(constants, said))
    return said
