"""Gradients, of several processes their mean, which travels while the backward pass computes the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

BUCKET_BYTES = 2**20
"""Bytes of gradients that travel together. Our networks are of a few MiB."""


def gradients_of(total: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """Those of a loss by each of `of`; 0 where the loss does not depend on it."""
    if not total.requires_grad:  # GDAS may draw `none` wherever it matters
        return [torch.zeros_like(each) for each in of]
    return list(torch.autograd.grad(total, of, materialize_grads=True))


def mean_gradients(total: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """The same averaged over the processes of the default group, which all must ask for the same `of`."""
    buckets = Buckets(of)
    hooks = [each.register_hook(partial(buckets.take, place)) for place, each in enumerate(of)]
    try:
        own = gradients_of(total, of)
    finally:
        for hook in hooks:
            hook.remove()
    return buckets.means(own)


class Buckets:
    """The gradients of `of` in buckets, the last tensor's first, as a backward pass comes to the last layers first.

    A bucket is sent once it is full, and those before it are sent, too: in one order in all processes, whatever the
    order in which each finds its gradients.
    """

    def __init__(self, of: Sequence[Tensor]) -> None:
        self._places = buckets_of(of)
        self._bucket = {place: number for number, places in enumerate(self._places) for place in places}
        self._missing = [len(places) for places in self._places]
        self._own: list[Tensor | None] = [None] * len(of)
        self._sent: list[tuple[Tensor, torch.distributed.Work]] = []

    def take(self, place: int, gradient: Tensor) -> None:
        """Takes the gradient of one tensor, which stays as it is, and sends what has become full."""
        self._own[place] = gradient
        self._missing[self._bucket[place]] -= 1
        while len(self._sent) < len(self._places) and not self._missing[len(self._sent)]:
            self._send(self._places[len(self._sent)])

    def _send(self, places: Sequence[int]) -> None:
        flat = torch.cat([own.flatten() for place in places if (own := self._own[place]) is not None])
        self._sent.append((flat, torch.distributed.all_reduce(flat, async_op=True)))

    def means(self, own: Sequence[Tensor]) -> list[Tensor]:
        """The means, behind the backward pass, which gave `own`: what no one has taken in it is taken now."""
        for place, gradient in enumerate(own):
            if self._own[place] is None:
                self.take(place, gradient)
        means = [*own]
        for places, (flat, work) in zip(self._places, self._sent, strict=True):
            work.wait()
            flat /= torch.distributed.get_world_size()
            for place, piece in zip(places, flat.split([own[place].numel() for place in places]), strict=True):
                means[place] = piece.view_as(own[place])
        return means


def buckets_of(of: Sequence[Tensor]) -> list[list[int]]:
    """The places of the tensors of each bucket, from the last one on: of one type, and of `BUCKET_BYTES` at most, where
    not a single one has more."""
    buckets: list[list[int]] = []
    size = 0
    for place in reversed(range(len(of))):
        fits = size + of[place].nbytes <= BUCKET_BYTES
        if not buckets or not fits or of[buckets[-1][0]].dtype != of[place].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(place)
        size += of[place].nbytes
    return buckets
