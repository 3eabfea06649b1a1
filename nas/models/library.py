"""Classifiers of torchvision and timm, as networks that give features."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.errors import near_misses
from nas.models.pretrained import of_network, read_checkpoint
from nas.system.weights import load_into

HEADS = ("fc", "classifier", "heads", "head")  # what torchvision and timm call the layers behind the pooled features

IMAGENET = "imagenet"

torchvision_names = partial(torchvision.models.list_models, module=torchvision.models)
"""The names of torchvision's classifiers."""


def is_classifier(name: str) -> bool:
    """Whether `name` says a library, or is one of torchvision's classifiers."""
    return ":" in name or name in torchvision_names()


def classifier_features(name: str, weights: str = "") -> nn.Module:
    """A classifier without its last layer: features `[B, D]` of ImageNet-normalised images.

    name: of a torchvision classifier (`torchvision:` may stand before it), or of a timm one behind `timm:`.
    weights: `imagenet` (downloaded), a checkpoint's path, or nothing: then they are random.
    Raises ValueError with near misses for an unknown name, naming the first tensor that does not fit, and for weights
    that cannot be had.
    """
    library, _, model = name.rpartition(":")
    makers = {"": _torchvision, "torchvision": _torchvision, "timm": _timm}
    if library not in makers:
        raise ValueError(f"{name!r} must be torchvision:NAME or timm:NAME; there is no library {library!r} here")
    net, mean, std = makers[library](model, weights == IMAGENET)
    if weights not in ("", IMAGENET):
        load_checkpoint(net, Path(weights))
    same = (tuple(mean), tuple(std)) == (IMAGENET_MEAN, IMAGENET_STD)
    return (net if same else Renormalised(net, mean, std)).eval()


def load_checkpoint(net: nn.Module, path: Path) -> None:
    """Loads a checkpoint into a network without its head: wrappings and prefixes are taken off, a head is left out."""
    own = net.state_dict()
    state = of_network(read_checkpoint(path), own, str(path))
    tensors = {name: tensor for name, tensor in state.items() if name in own or name.split(".")[0] not in HEADS}
    uncounted = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")}
    load_into(net, uncounted | tensors, f"the checkpoint {path}")


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, tuple, tuple]:
    known = torchvision_names()
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name!r}{near_misses(name, known)}; timm's are timm:NAME")
    weights: Any = torchvision.models.get_model_weights(name)["DEFAULT"] if pretrained else None
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") and not pretrained else {}
    try:
        net = torchvision.models.get_model(name, weights=weights, **extra)
    except OSError as error:
        raise ValueError(
            f"could not download the weights of {name} ({error}): fetch {weights.url} on another machine "
            "and give the file's path as --weights"
        ) from error
    _without_last_layer(net)
    return net, IMAGENET_MEAN, IMAGENET_STD


def _without_last_layer(net: nn.Module) -> None:
    """Makes the last layer with weights of the classifier's head the identity."""
    head = next(head for head in HEADS if hasattr(net, head))
    layers = [
        name
        for name, layer in net.named_modules()
        if f"{name}.".startswith(f"{head}.") and isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    net.set_submodule(layers[-1], nn.Identity())


def _timm(name: str, pretrained: bool) -> tuple[nn.Module, tuple, tuple]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"timm:{name} needs the package timm: pip install timm") from error
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}{near_misses(name, timm.list_models())}")
    try:
        net: Any = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"timm could not get the weights of {name} ({error}): fetch them on another machine and give "
            "the file's path as --weights"
        ) from error
    return net, net.default_cfg["mean"], net.default_cfg["std"]


class Renormalised(nn.Module):
    """A network that was trained with another mean and standard deviation of the pixels than ImageNet's."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        mean, std, imagenet_mean, imagenet_std = torch.tensor([mean, std, IMAGENET_MEAN, IMAGENET_STD])
        self.register_buffer("scale", (imagenet_std / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((imagenet_mean - mean) / std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.scale + self.shift)
