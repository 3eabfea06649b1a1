"""Weights that others trained, loaded by name into a backbone: all of them, or what fits another architecture."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from nas.system.weights import load_into, load_state, load_weights
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace

HEADS = ("fc.", "classifier.")
DENSE_LAYER = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Torchvision's files of DenseNets have the names of an early version: `norm.1` for `norm1`."""
COUNTER = "num_batches_tracked"
WRAPPINGS = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers put a state dict."""

IMAGENET: Mapping[SearchSpace, models.WeightsEnum] = {
    ResNet(depth=18): models.ResNet18_Weights.IMAGENET1K_V1,
    ResNet(depth=34): models.ResNet34_Weights.IMAGENET1K_V1,
    ResNet(depth=50): models.ResNet50_Weights.IMAGENET1K_V1,
    MobileNetV2(): models.MobileNet_V2_Weights.IMAGENET1K_V1,
    DenseNet(): models.DenseNet121_Weights.IMAGENET1K_V1,
    ShuffleNetV2(): models.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1,
}
"""Torchvision's weights, whatever the last stride is."""


@runtime_checkable
class HasWeights(Protocol):
    """A backbone space that knows where its weights are."""

    def weights(self, source: str) -> Mapping[str, Tensor]:
        """The tensors of `source`, as in `load_pretrained`, by the backbone's names."""


@dataclass(frozen=True)
class Inherited:
    """What a backbone has of a pretrained file: names of tensors, without the counters of the normalisations."""

    taken: tuple[str, ...]
    left: tuple[str, ...]
    """Those that start at random."""

    def __str__(self) -> str:
        some = ", ".join(self.left[:3]) + (f" and {len(self.left) - 3} more" if len(self.left) > 3 else "")
        return f"{len(self.taken)} tensors taken by name and shape, {len(self.left)} start at random: {some or 'none'}"


def load_pretrained(backbone: nn.Module, space: SearchSpace, source: str) -> Inherited:
    """Loads `source` into `backbone`, a network of `space`: `imagenet`, or the path of a checkpoint.

    The weights are those of this very backbone, or of the published point of `space`. Of the latter another
    architecture inherits what fits by name and shape, and a line on standard error says how much that is. The
    classifier is left out, half precision is widened. Raises ValueError naming the first tensor that differs from the
    published point's, or, without a network, the file to fetch and where to put it.
    """
    if isinstance(space, HasWeights):
        found = space.weights(source)
    else:
        found = _imagenet(space) if source == "imagenet" else read_checkpoint(Path(source))
    tensors = {
        DENSE_LAYER.sub(r"\1\2", name): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in found.items()
        if not name.startswith(HEADS)
    }
    own, trained = backbone.state_dict(), backbone
    if _shapes(tensors) != _shapes(own):
        with torch.random.fork_rng(devices=[]):  # the random numbers of the training stay where they are
            trained = space.student()
    counters = {name: tensor for name, tensor in trained.state_dict().items() if name.endswith(COUNTER)}
    load_into(trained, counters | tensors, f"the pretrained file {source!r}")
    fitting = {
        name: tensor for name, tensor in trained.state_dict().items() if name in own and own[name].shape == tensor.shape
    }
    load_into(backbone, own | fitting, str(source))
    inherited = Inherited(tuple(_shapes(fitting)), tuple(name for name in _shapes(own) if name not in fitting))
    if inherited.left:
        print(f"nas: {source!r} is of the published {space.title}: {inherited}", file=sys.stderr)
    return inherited


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Of all but the counters, which old checkpoints lack."""
    return {name: tensor.shape for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def check_there(source: str) -> None:
    """Raises ValueError when `source`, what a training starts from, is a file that does not exist."""
    if source not in ("", "imagenet") and not Path(source).is_file():
        raise ValueError(f"the pretrained weights {source} do not exist: give the path of a torchvision checkpoint")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file, or from a torch checkpoint read without running anything in it.

    What trainers put around it is taken off: an outer mapping, and `module.` in front of the names.
    """
    check_there(str(path))
    if path.suffix == ".safetensors":
        return load_weights(path)[0]
    state = load_state(path)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must hold tensors by name (a state dict), not a {type(state).__name__}")
    state = next((state[key] for key in WRAPPINGS if isinstance(state.get(key), Mapping)), state)
    return {name.removeprefix("module."): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _imagenet(space: SearchSpace) -> Mapping[str, Tensor]:
    same_weights = replace(cast(Any, space), last_stride=2) if "last_stride" in vars(space) else space
    if same_weights not in IMAGENET:
        known = ", ".join(known.title for known in IMAGENET)
        raise ValueError(
            f"there are no ImageNet weights for {space}: torchvision has them for {known}; "
            "leave `pretrained` empty to start from scratch, or give the path of a checkpoint"
        )
    weights = IMAGENET[same_weights]
    try:
        return weights.get_state_dict(progress=True)
    except (URLError, OSError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(
            f"could not download the ImageNet weights ({error}): fetch {weights.url} on another machine "
            f"and put it into {folder}, or give the file's path as `pretrained`"
        ) from error
