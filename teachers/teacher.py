"""The teacher: a trained network that is listened to and never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


class Teacher:
    """A frozen network in eval mode whose identity logits are a constant.

    It is no module: it enters no student's parameters, state dict, optimiser or `train()`.
    """

    def __init__(self, net: nn.Module, identities: Sequence[int], autocast: Callable[[], AbstractContextManager]):
        self.identities = tuple(identities)
        self._net = net.eval().requires_grad_(False)
        self._autocast = autocast

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `[B, num_ids]` for images `[B, 3, H, W]`: the same augmented view that the student sees."""
        with torch.inference_mode(), self._autocast():
            logits = self._net(images).logits
        return logits.float().clone()

    def check_identities(self, identities: Sequence[int], data: str) -> None:
        """Raises ValueError unless the teacher was trained on exactly these identities in this order."""
        if self.identities == tuple(identities):
            return
        if len(self.identities) != len(identities):
            differ = f"the teacher knows {len(self.identities)} identities, {data} has {len(identities)}"
        else:
            place = next(i for i, pair in enumerate(zip(self.identities, identities, strict=True)) if len(set(pair)) > 1)
            differ = (f"the teacher's identity number {place} is {self.identities[place]}, "
                      f"that of {data} is {identities[place]}")
        raise ValueError(f"teacher and data set must have the same identities in the same order: {differ}. "
                         "Train the teacher on this data set with `nas teach`")
