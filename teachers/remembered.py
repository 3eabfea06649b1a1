"""A teacher whose answers to all views of all images are known: where views repeat, nobody asks it twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class ViewedBatch(Protocol):
    """A batch that says which view of which image each of its images is."""

    @property
    def images(self) -> Any: ...

    @property
    def views(self) -> Tensor | None:
        """Numbers of the views, int64 `[B]`; None: they do not repeat."""


Answers = Mapping[str, Tensor]
"""What the teacher says of each view, `[V, ...]` by name."""


def answers_of(
    teacher: Callable[[Any], Any], blocks: Iterable[tuple[Tensor, Any]], num_views: int
) -> dict[str, Tensor]:
    """Asks the teacher for all `num_views` views, which come in blocks of (numbers `[B]`, images `[B, ...]`).

    A network's answer to an image depends on nothing else in its batch, but, in its last bits, on the batch's size:
    with blocks as large as the batches the answers are those of the batches, to the bit. Maps are left out.
    """
    answers: dict[str, Tensor] = {}
    for numbers, images in blocks:
        for name, said in teacher(images)._asdict().items():
            if isinstance(said, Tensor):
                kept = answers.setdefault(name, torch.empty((num_views, *said.shape[1:]), dtype=said.dtype))
                kept[numbers] = said.cpu()
    return answers


class RememberedTeacher:
    """In a `Teacher`'s place: gives its answers from `answers`, for batches that say their views."""

    def __init__(self, teacher: Callable[[Any], Any], kind: type[Any], answers: Answers) -> None:
        """`kind`: the named tuple that the teacher's answers are, whose other fields are empty."""
        self.teacher, self.kind, self.answers = teacher, kind, answers

    def __call__(self, images: Any) -> Any:
        return self.teacher(images)

    def of_batch(self, batch: ViewedBatch) -> Any:
        """What the teacher says of the batch."""
        if batch.views is None:
            return self.teacher(batch.images)
        device = batch.images.device
        self.answers = {name: kept.to(device) for name, kept in self.answers.items()}  # the first time alone
        known = {name: kept[batch.views] for name, kept in self.answers.items()}
        return self.kind(**known, **{name: {} for name in self.kind._fields if name not in known})
