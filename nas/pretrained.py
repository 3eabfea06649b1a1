"""Weights that others trained, loaded by name into a backbone's published point."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from nas.checkpoint import load_into, load_state, load_weights
from search_spaces.base import SearchSpace
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet

HEADS = ("fc.", "classifier.")


def load_pretrained(backbone: nn.Module, space: SearchSpace, source: str) -> None:
    """Loads `source` into `backbone`, the published point of `space`: `imagenet`, or a torchvision checkpoint's path.

    The classifier is left out, half precision is widened. Raises ValueError naming the first tensor that does not fit,
    or, without a network, the file to fetch and where to put it.
    """
    tensors = _imagenet(space) if source == "imagenet" else read_checkpoint(Path(source))
    backbone_tensors = {name: tensor.float() if tensor.is_floating_point() else tensor
                        for name, tensor in tensors.items() if not name.startswith(HEADS)}
    for name, tensor in backbone.state_dict().items():
        if name.endswith("num_batches_tracked"):
            backbone_tensors.setdefault(name, tensor)
    load_into(backbone, backbone_tensors, f"the pretrained file {source!r}")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file, or from a torch checkpoint read without running anything in it."""
    if not path.is_file():
        raise ValueError(f"the pretrained weights {path} do not exist: give the path of a torchvision checkpoint")
    if path.suffix == ".safetensors":
        return load_weights(path)[0]
    return load_state(path)


def _imagenet(space: SearchSpace) -> dict[str, Tensor]:
    weights = _torchvision_weights(space)
    try:
        return weights.get_state_dict(progress=True)
    except (URLError, OSError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(f"could not download the ImageNet weights ({error}): fetch {weights.url} on another machine "
                         f"and put it into {folder}, or give the file's path as `pretrained`") from error


def _torchvision_weights(space: SearchSpace) -> torchvision.models.WeightsEnum:
    models = torchvision.models
    if isinstance(space, ResNet) and space.width == 1.0:
        names = {18: models.ResNet18_Weights, 34: models.ResNet34_Weights, 50: models.ResNet50_Weights}
        return names[space.depth].IMAGENET1K_V1
    if isinstance(space, MobileNetV2) and space.width == 1.0:
        return models.MobileNet_V2_Weights.IMAGENET1K_V1
    raise ValueError(f"there are no ImageNet weights for {space}: torchvision has them for ResNet-18/34/50 and "
                     "MobileNetV2 at width 1; leave `pretrained` empty to start from scratch")
