"""Zero-cost proxies: what an untrained network says of how well it will learn. More is better; nothing is trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.strategies.autograd import running_statistics_kept

ProxyName = Literal["synflow", "jacob_cov", "naswot", "zico"]
"""SynFlow (Tanaka et al. 2020), the covariance of the Jacobian (Abdelfattah et al. 2021), NASWOT (Mellor et al. 2021),
or ZiCo (Li et al. 2023)."""

NUM_BATCHES: Mapping[ProxyName, int] = {"synflow": 1, "jacob_cov": 1, "naswot": 1, "zico": 2}
"""Batches that a proxy looks at: two for ZiCo, as in its paper."""

WORST = -1e12
"""What a network is worth of which a proxy says nothing finite: one that lets nothing through, say."""

RELUS = (torch.ops.aten.relu, torch.ops.aten.relu_, torch.ops.aten.hardtanh, torch.ops.aten.hardtanh_)
"""What rectifies, by whichever module or function a network calls it; `hardtanh` is a ReLU6."""

JACOBIAN_SHIFT = 1e-5
"""`k` of `jacob_cov`."""


def estimate(
    proxy: ProxyName, net: nn.Module, features: nn.Module, batches: Sequence[Any], loss: Callable[[Any], Tensor]
) -> float:
    """What `proxy` says of a network; `WORST` where that is not finite.

    net: as it would be trained, `loss` being its own on a batch; features: what of it is deployed, from images
    `[B, 3, H, W]` to `[B, D]`; batches: `NUM_BATCHES` of them. BatchNorms take their statistics from the batch.
    """
    net.train()
    features.train()
    with running_statistics_kept([*net.modules(), *features.modules()]):
        match proxy:
            case "synflow":
                found = synflow(features, batches[0].images[:1])
            case "jacob_cov":
                found = jacob_cov(features, batches[0].images)
            case "naswot":
                found = naswot(features, batches[0].images)
            case "zico":
                found = zico(layer_weights(net), map(loss, batches))
    return max(found, WORST) if math.isfinite(found) else WORST


def synflow(net: nn.Module, images: Tensor) -> float:
    """`log(1 + sum_w (dR / dw) w)`, where `R` is the sum of what the network, with `|w|` for each weight, makes of ones
    in the shape of `images` (Tanaka et al., Algorithm 1; the sum over all weights is Abdelfattah et al.'s).

    In float64 and in the logarithm, which ranks alike: the sum grows with every layer. Without BatchNorms, as in
    Abdelfattah et al.'s code, which would take back what the weights before them do, and without the upper bounds of
    ReLU6s, behind which nothing flows.
    """
    net = unbounded(copy.deepcopy(net)).double()
    weights = list(net.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    total = net(torch.ones_like(images, dtype=torch.float64)).sum()
    gradients = _gradients(total, weights)
    with torch.no_grad():
        flow = sum((gradient * weight).sum().item() for gradient, weight in zip(gradients, weights, strict=True))
    return math.log1p(flow)


def jacob_cov(net: nn.Module, images: Tensor) -> float:
    """`-sum_i log(v_i + k) + 1 / (v_i + k)` over the eigenvalues `v_i` of the correlations between images, of the
    gradients of the summed output with respect to each (Abdelfattah et al., after the first version of
    Mellor et al.).

    An image to whose pixels the output does not answer counts as one that is like all others.
    """
    images = images.detach().requires_grad_()
    (jacobian,) = _gradients(net(images).sum(), [images])
    correlations = torch.corrcoef(jacobian.flatten(1).double()).nan_to_num(nan=1.0)
    eigenvalues = torch.linalg.eigvalsh(correlations) + JACOBIAN_SHIFT
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def naswot(net: nn.Module, images: Tensor) -> float:
    """`log |det K|`, where `K_ij` is the number of rectified units that are both on or both off for images `i` and `j`
    (Mellor et al. 2021)."""
    with torch.no_grad(), Rectified(len(images)) as rectified:
        net(images)
    return float(torch.linalg.slogdet(rectified.agreements).logabsdet)


class Rectified(TorchDispatchMode):
    """Counts, of whatever rectifies maps of `num_images` images meanwhile, in how many units two of them agree.

    Raises ValueError when nothing did.
    """

    def __init__(self, num_images: int) -> None:
        super().__init__()
        self.num_images = num_images
        self.counted: Tensor | None = None

    @property
    def agreements(self) -> Tensor:
        """`[num_images, num_images]`, float64."""
        if self.counted is None:
            raise ValueError("naswot counts ReLUs, and this network has none: take another proxy, such as synflow")
        return self.counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in RELUS and len(out) == self.num_images:
            on = (out > 0).flatten(1).double()
            agree = on @ on.T + (1 - on) @ (1 - on).T
            self.counted = agree if self.counted is None else self.counted + agree
        return out


def zico(weights: Sequence[Tensor], losses: Iterable[Tensor]) -> float:
    """`sum_l log(sum_w E|g_w| / std(|g_w|))` over the weights `w` of each layer `l`, mean and deviation of the gradient
    being over the batches (Li et al. 2023).

    Weights whose gradient does not differ, and layers that have no other, are left out, as in the authors' code, which
    takes the deviation of `g` itself.
    """
    gradients = [_gradients(loss, weights) for loss in losses]
    total = 0.0
    for of_layer in zip(*gradients, strict=True):
        sizes = torch.stack(of_layer).abs().double()
        deviation = sizes.std(dim=0, correction=0)
        differs = deviation > 0
        if differs.any():
            total += float((sizes.mean(dim=0)[differs] / deviation[differs]).sum().log())
    return total


def _gradients(total: Tensor, of: Sequence[Tensor]) -> Sequence[Tensor]:
    """Zeros for what `total` does not depend on, and for all where a network lets nothing through."""
    if not total.requires_grad:
        return [torch.zeros_like(each) for each in of]
    return torch.autograd.grad(total, of, materialize_grads=True)


def layer_weights(net: nn.Module) -> list[Tensor]:
    """Of the convolutions and linear layers, without their shifts."""
    return [module.weight for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def unbounded(net: nn.Module) -> nn.Module:
    """The network itself, whose BatchNorms let their input through from now on, and whose ReLU6s are ReLUs."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return net
