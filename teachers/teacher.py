"""The teacher: a trained network that is listened to and never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class TeacherOutput(NamedTuple):
    """What a teacher says of a batch: float32 constants."""

    logits: Tensor
    """`[B, num_ids]`."""
    embedding: Tensor
    """`[B, D]`, before the BNNeck."""
    maps: Mapping[str, Tensor]
    """`[B, C, H, W]` by name: those that were asked for."""


class Teacher:
    """A frozen network in eval mode; what it says is a constant.

    It is no module: it enters no student's parameters, state dict, optimiser or `train()`.
    """

    def __init__(
        self, net: nn.Module, autocast: Callable[[], AbstractContextManager], maps: Sequence[str] = ()
    ) -> None:
        """`net` answers with logits, embedding and named maps; `maps` are the ones to keep of each batch."""
        self._net = net.eval().requires_grad_(False)
        self._autocast = autocast
        self._maps = tuple(maps)

    def __call__(self, images: Tensor) -> TeacherOutput:
        """What it says of images `[B, 3, H, W]`: the same augmented view that the student sees.

        Raises ValueError when it does not have a map that was asked for.
        """
        with torch.inference_mode(), self._autocast():
            out = self._net(images)
        check_names("teacher", self._maps, out.maps)
        return TeacherOutput(
            _constant(out.logits), _constant(out.embedding), {name: _constant(out.maps[name]) for name in self._maps}
        )


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


def check_names(whose: str, asked: Sequence[str], maps: Mapping[str, Tensor]) -> None:
    """Raises ValueError, listing those that exist, when a map that was asked for does not."""
    if unknown := [name for name in asked if name not in maps]:
        raise ValueError(f"the {whose} has no map {', '.join(unknown)}; it has {', '.join(maps) or 'none'}")


def _constant(tensor: Tensor) -> Tensor:
    """A float32 copy that autograd may use, which it may not of a tensor made in inference mode."""
    return tensor.float().clone()
