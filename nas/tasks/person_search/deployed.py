"""What of a network for person search runs on a camera."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


class Deployed(nn.Module):
    """A copy of a network for person search that takes images alone `[B, 3, H, W]`: what is counted and timed.

    It looks at a fixed number of regions, as many as are kept at test time, whatever is in the image.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.out_channels = getattr(net, "out_channels", None)

    def forward(self, images: Tensor) -> Any:
        return self.net.eval()(images)
