"""Decoded images in the memory of a GPU, where batches are made of them without the host."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.augment import Sampled, gathered
from nas.system.progress import tell

SHARE = 0.5
"""Of the GPU's memory that is free; the networks and what their steps keep need the rest."""
BLOCK = 4096
"""Images that are sent at a time."""


class Resident:
    """Images uint8 `[N, 3, H, W]`, kept on `device` with their channels last."""

    def __init__(self, images: Tensor, device: torch.device) -> None:
        num_images, channels, height, width = images.shape
        self.pixels = torch.empty(num_images, height, width, channels, dtype=torch.uint8, device=device)
        for kept, block in zip(self.pixels.split(BLOCK), images.split(BLOCK), strict=True):
            kept.copy_(block.to(device).permute(0, 2, 3, 1))

    @classmethod
    def where_it_fits(cls, images: Tensor, device: torch.device) -> Resident | None:
        """A line says whether the images stay on the GPU; None where they do not."""
        free, gib = torch.cuda.mem_get_info(device)[0], images.nbytes / 2**30
        if images.nbytes > SHARE * free:
            tell(f"{len(images)} decoded images stay in the host's memory: {gib:.1f} GiB are over half of the GPU's")
            return None
        tell(f"{len(images)} decoded images stay on the GPU: {gib:.1f} GiB")
        return cls(images, device)

    def get(self, chosen: Tensor) -> Tensor:
        """The images at `chosen` int64 `[B]`, uint8 `[B, 3, H, W]`, as a view with its channels last."""
        return self.pixels.index_select(0, chosen).permute(0, 3, 1, 2)

    def augmented(self, chosen: Tensor, sampled: Sampled, crop_padding: int) -> Tensor:
        """As `nas.data.augment.augmented`, of the images at `chosen`."""
        return gathered(self.pixels, chosen, sampled, crop_padding)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`: to a GPU out of pinned memory, so that nobody waits for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
