"""Networks that others made, as feature networks: torchvision's, timm's, and ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.errors import near_misses
from nas.pretrained import read_checkpoint
from nas.system.weights import load_into

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

HEADS = ("fc", "classifier", "heads", "head")  # what torchvision and timm call the layers behind the pooled features
IMAGENET = "imagenet"


def is_classifier(name: str) -> bool:
    """Whether `name` says a library, or is one of torchvision's classifiers."""
    return ":" in name or name in _torchvision_names()


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
    """Loads a checkpoint into a network without its head: wrappings and `module.` are taken off, a head is left out."""
    state = read_checkpoint(path)
    own = net.state_dict()
    tensors = {name: tensor for name, tensor in state.items() if name in own or name.split(".")[0] not in HEADS}
    uncounted = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")}
    load_into(net, uncounted | tensors, f"the checkpoint {path}")


def _torchvision_names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, tuple, tuple]:
    known = _torchvision_names()
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name!r}{near_misses(name, known)}; timm's are timm:NAME")
    weights = torchvision.models.get_model_weights(name)["DEFAULT"] if pretrained else None
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
        net = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"timm could not get the weights of {name} ({error}): fetch them on another machine and give "
            "the file's path as --weights"
        ) from error
    return net, net.default_cfg["mean"], net.default_cfg["std"]


class Renormalised(nn.Module):
    """A network that was trained with another mean and standard deviation of the pixels than ImageNet's."""

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        mean, std, imagenet_mean, imagenet_std = torch.tensor([mean, std, IMAGENET_MEAN, IMAGENET_STD])
        self.register_buffer("scale", (imagenet_std / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((imagenet_mean - mean) / std).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.scale + self.shift)


class OnnxNet(nn.Module):
    """An ONNX file with one image input `[B, 3, H, W]` (ImageNet-normalised), run by onnxruntime on the CPU.

    Its first output with two axes is taken for the features. A fixed batch size is kept by filling up the last batch.
    Raises ValueError when the file is damaged, or its input is not an image of the given size.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__()
        self.session = _session(path)
        image, *others = self.session.get_inputs()
        shape = [size if isinstance(size, int) else None for size in image.shape]
        fits = len(shape) == 4 and all(a in (None, b) for a, b in zip(shape[1:], (3, height, width), strict=True))
        if others or not fits:
            inputs = ", ".join(f"{each.name} {each.shape}" for each in self.session.get_inputs())
            raise ValueError(
                f"{path} must take one image [B, 3, {height}, {width}], its inputs are {inputs}: "
                "set --images.height and --images.width to its size"
            )
        outputs = [output.name for output in self.session.get_outputs() if len(output.shape) == 2]
        if not outputs:
            raise ValueError(
                f"{path} must have an output of features [B, D], its outputs are "
                f"{[(output.name, output.shape) for output in self.session.get_outputs()]}"
            )
        self.input, self.output, self.batch_size = image.name, outputs[0], shape[0]
        self.num_parameters = _num_parameters(path)

    def forward(self, x: Tensor) -> Tensor:
        images = x.float().cpu().numpy()
        size = self.batch_size or len(images)
        batches = [
            np.resize(images[start : start + size], (size, *images.shape[1:])) for start in range(0, len(images), size)
        ]
        found = [self.session.run([self.output], {self.input: batch})[0] for batch in batches]
        return torch.from_numpy(np.concatenate(found)[: len(images)]).to(x.device)

    def __deepcopy__(self, memo: dict) -> OnnxNet:
        return self  # a session cannot be copied, and holds no state that a forward pass changes


def _session(path: Path) -> InferenceSession:
    if not path.is_file():
        raise ValueError(f"the ONNX file {path} does not exist")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{path} needs the package onnxruntime: pip install onnx onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common type of their own
        raise ValueError(f"{path} is not an ONNX file that onnxruntime can run: {error}") from error


def _num_parameters(path: Path) -> int:
    """Numbers in the weights of the file's graph, without the whole numbers that are shapes and axes. Running
    statistics of a normalisation count, where they are kept."""
    import onnx

    weights = onnx.load(path, load_external_data=False).graph.initializer
    return sum(int(np.prod(weight.dims)) for weight in weights if weight.data_type != onnx.TensorProto.INT64)
