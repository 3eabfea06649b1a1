"""A space, objectives and batches of a moment, for the strategies that search by gradient."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.cell import Cells
from search_spaces.space import SearchSpace
from students.losses import triplet
from students.reid import ReID

KDAS = ReID(backbone=Cells(channels=2, cells=2, reductions=(2,)), num_ids=4, embedding_dim=6)


class Pictures(NamedTuple):
    images: Tensor
    labels: Tensor


def batch(*seed: int, size: int = 8, dtype: torch.dtype = torch.float32) -> Pictures:
    rng = torch.Generator().manual_seed(hash(seed))
    images = torch.randn(size, 3, 32, 16, generator=rng, dtype=torch.float64).to(dtype)
    return Pictures(images, torch.arange(4).repeat_interleave(size // 4))


@dataclass
class Classify:
    """An objective without a data set: cross-entropy and triplet loss on noise."""

    num_steps: int = 2
    asked: list[str] = field(default_factory=list)
    """Who wanted a gradient at each forward pass."""

    def weight_batches(self, epoch, start=0):
        return [batch(0, epoch, step) for step in range(start, self.num_steps)]

    def alpha_batches(self, epoch, start=0):
        return [batch(1, epoch, step) for step in range(start, self.num_steps)]

    def loss(self, net, pictures, epoch):
        if isinstance(net, nn.Module):
            wanted = {name == "alpha" for name, p in net.named_parameters() if p.requires_grad}
            who = {(): "nobody", (True,): "alpha", (False,): "weights", (False, True): "both"}
            self.asked.append(who[tuple(sorted(wanted))])
        out = net(pictures.images)
        return {"total": F.cross_entropy(out.logits, pictures.labels) + triplet(out.embedding, pictures.labels)}

    alpha_loss = loss

    def record(self, epoch):
        return {"temperature": 2.0 - epoch}


class SmoothNet(nn.Module):
    """Two mixed operations of smooth functions on flat images."""

    def __init__(self, pick) -> None:
        super().__init__()
        self.first = pick.op(
            "first",
            {
                "tanh": lambda: Dense(3 * 32 * 16, 5, torch.tanh),
                "sigmoid": lambda: Dense(3 * 32 * 16, 5, torch.sigmoid),
            },
        )
        self.last = pick.op(
            "last",
            {
                "tanh": lambda: Dense(5, 4, torch.tanh),
                "softplus": lambda: Dense(5, 4, F.softplus),
                "linear": lambda: Dense(5, 4, lambda x: x),
            },
        )
        self.out_channels = 4

    def forward(self, x):
        return self.last(self.first(x.flatten(1) / 20))


class Dense(nn.Linear):
    def __init__(self, c_in, out_channels, curve) -> None:
        super().__init__(c_in, out_channels)
        self.out_channels, self.curve = out_channels, curve

    def forward(self, x):
        return self.curve(super().forward(x))


@dataclass(frozen=True)
class Smooth(SearchSpace):
    def build(self, pick, c_in=3):
        return SmoothNet(pick)


class Fit(Classify):
    """A smooth loss: a mean over the batch of a function of each picture alone."""

    def loss(self, net, pictures, epoch):
        return {"total": F.cross_entropy(3 * net(pictures.images), pictures.labels)}

    alpha_loss = loss


class Draw(Classify):
    """An objective that sees no picture: weights shrink, and the alphas go where `wanted` is."""

    def __init__(self, wanted: str, num_steps: int = 4) -> None:
        super().__init__(num_steps)
        self.wanted = wanted

    def loss(self, net, pictures, epoch):
        return {"total": sum(p.square().sum() for p in net.net.parameters())}

    def alpha_loss(self, net, pictures, epoch):
        chosen = [
            row[options.index(self.wanted)] for row, options in zip(net.weights(), net.options.values(), strict=True)
        ]
        return {"total": -torch.stack(chosen).sum()}


@dataclass
class Memory:
    """A stage whose loop is kept in memory; used again, it goes on."""

    history: list[dict] = field(default_factory=list)
    num_epochs: int = 0
    stopped: bool = False

    def loop(self, num_epochs, num_steps, parts):
        self.num_epochs = num_epochs
        return self

    def epochs(self):
        while len(self.history) < self.num_epochs and not self.stopped:
            yield len(self.history)

    def end_epoch(self, **record):
        self.history.append({"epoch": len(self.history)} | record)

    def stop(self, why):
        self.stopped = True

    def first_says(self, what):
        return what
