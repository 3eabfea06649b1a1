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
        self,
        net: nn.Module,
        autocast: Callable[[], AbstractContextManager],
        maps: Sequence[str] = (),
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        """`maps`: those of the network that are to be kept of each batch. `stream`: where it is asked about the batches
        of a loop, each one ahead, see `asked_ahead`; None: in its turn."""
        self._net: Any = net.eval().requires_grad_(False)
        self._autocast = autocast
        self._maps = tuple(maps)
        self.stream = stream

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
    if isinstance(teacher, Teacher) and teacher.stream is not None:
        yield from asked_ahead(batches, teacher.of_batch, teacher.stream)
        return
    for batch in batches:
        yield batch if teacher is None else batch._replace(teacher=teacher.of_batch(batch))


def asked_ahead(batches: Iterable[B], ask: Callable[[B], Any], stream: torch.cuda.Stream) -> Iterator[B]:
    """The same, where a GPU computes the answer to a batch on `stream` beside the step on the batch before.

    The stream first waits for all that has been launched, which is the step before that one. Whatever an answer's
    memory was used for is then done when the next answer may take it.
    """
    last: tuple[B, torch.cuda.Event] | None = None
    try:
        for batch in batches:
            stream.wait_stream(torch.cuda.current_stream(stream.device))
            with torch.cuda.stream(stream):
                told = batch._replace(teacher=ask(batch)), stream.record_event()
            if last is not None:
                yield _once_told(*last)
            last = told
        if last is not None:
            yield _once_told(*last)
    finally:  # the images of a batch that nobody took are read until then
        torch.cuda.current_stream(stream.device).wait_stream(stream)


def _once_told(batch: B, told: torch.cuda.Event) -> B:
    """The batch, for which the current stream waits until its answer is there."""
    torch.cuda.current_stream().wait_event(told)
    return batch


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
