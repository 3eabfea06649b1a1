"""What stands before and behind a network that takes images as they come from a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD

LEAST_LENGTH = 1e-12
"""A feature of no length stays one."""


class Preprocessed(nn.Module):
    """A network of features that takes uint8 images `[B, 3, H, W]` (RGB), normalises them itself and gives features
    `[B, D]` of length 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]).mul(255).view(2, 1, 3, 1, 1)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        features = self.net((images.float() - self.mean) / self.std)
        return features / features.norm(dim=1, keepdim=True).clamp_min(LEAST_LENGTH)


class Half(nn.Module):
    """A network whose weights and computation are float16, and whose inputs and outputs are not. `net` is changed."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.half()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.half()).float()
