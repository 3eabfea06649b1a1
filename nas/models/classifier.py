"""Any classifier of torchvision or timm as a backbone, by its name."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nas.errors import near_misses
from nas.models.library import classifier_features
from search_spaces.pick import Pick
from search_spaces.ranges import Name
from search_spaces.space import SearchSpace

AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""GoogLeNet's and Inception's second classifiers, which nothing here trains."""


class ClassifierNet(nn.Module):
    """`[B, 3, H, W]` to `{"map": [B, C, 1, 1]}`, what the classifier's last layer read, and what the modules named in
    `maps` give, `[B, C, H, W]`."""

    def __init__(self, net: nn.Module, maps: Sequence[str], out_channels: int) -> None:
        super().__init__()
        self.net = net
        self.maps = tuple(maps)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Raises ValueError when a module gives no map, or the classifier refuses the size of the images."""
        found: dict[str, Tensor] = {}
        # Hooks for one pass alone: a copy of the network would keep those that tell the original.
        hooks = [
            self.net.get_submodule(name).register_forward_hook(partial(_keep_map, found, name)) for name in self.maps
        ]
        try:
            features = self.net(x)
        except AssertionError as error:
            raise ValueError(
                f"the classifier cannot take images of {x.shape[2]}x{x.shape[3]} ({error}): set "
                "--images.height and --images.width"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        return {**found, "map": features[:, :, None, None]}


def _keep_map(found: dict[str, Tensor], name: str, module: nn.Module, inputs: object, output: object) -> None:
    if not isinstance(output, Tensor) or output.ndim != 4:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"maps must name modules that give [B, C, H, W]; {name} gives {got}")
    found[name] = output


@dataclass(frozen=True, kw_only=True)
class Classifier(SearchSpace):
    """A torchvision or timm classifier without its last layer. Nothing of it is open.

    Some, such as vision transformers, take images of one size alone.
    """

    name: Name
    """Name of the network, such as `resnet101` of torchvision, or `timm:convnext_nano` (needs the package timm)."""
    maps: tuple[Name, ...] = ()
    """Modules whose maps a student may be held against, such as `layer3`; Swin's have their channels last."""

    @property
    def title(self) -> str:
        return self.name

    def build(self, pick: Pick, c_in: int = 3) -> ClassifierNet:
        """Raises ValueError, with near misses, for a name or a module that does not exist."""
        if c_in != 3:
            raise ValueError(f"{self.name} takes images of 3 channels, not {c_in}")
        net = _network(self.name)
        modules = dict(net.named_modules())
        for name in self.maps:
            if name not in modules:
                raise ValueError(f"{self.name} has no module {name!r}{near_misses(name, modules)}")
        size = getattr(getattr(net, "net", net), "default_cfg", {}).get("input_size", (3, 224, 224))
        features = copy.deepcopy(net).to("meta")(torch.empty(1, *size, device="meta"))
        return ClassifierNet(net, self.maps, features.shape[1])

    def weights(self, source: str) -> Mapping[str, Tensor]:
        """The library's own weights (`imagenet`), or those of a checkpoint's path, by the names of `ClassifierNet`."""
        return {f"net.{name}": tensor for name, tensor in _network(self.name, source).state_dict().items()}


def _network(name: str, weights: str = "") -> nn.Module:
    with torch.device("cpu"):  # some compute their widths with tensors, which hold nothing on the meta device
        net = classifier_features(name, weights)
    for branch in AUXILIARY:
        if hasattr(net, branch):
            setattr(net, branch, None)
            net.aux_logits = False  # type: ignore[assignment] # to torch's stub every attribute is a tensor or module
    return net.to(torch.get_default_device())
