"""Weights that others trained, loaded by name into a backbone: all of them, or what fits another architecture."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from nas.errors import quoted
from nas.system.files import not_a_file
from nas.system.weights import load_into, load_state, load_weights
from search_spaces.architecture import Architecture
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace
from students.reid import ReIDNet
from students.space import StudentSpace

HEADS = ("fc.", "classifier.")
DENSE_LAYER = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Torchvision's files of DenseNets have the names of an early version: `norm.1` for `norm1`."""
COUNTER = "num_batches_tracked"
WRAPPINGS = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers put a state dict: the first that is there holds the weights, whatever stands beside it."""
PARALLEL = "module."
"""What `DataParallel` puts in front of each name."""
AVERAGED = "n_averaged"
"""What torch's `AveragedModel` has beside its `module.`: how many states are in the mean."""
INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch's compiler and wrappers put into names, in front or between."""
LIGHTNING = "model."
"""Where a LightningModule usually has its network; what stands beside it is losses and measures."""

HEAD_LAYERS = {
    "embedding": ("embedding.", "fc.0."),
    "neck": ("neck.", "heads.bottleneck.0.", "heads.bnneck.", "bottleneck.", "fc.1."),
}
"""What a file calls the layers between backbone and classifier: this project, torchreid's OSNet (`fc`, without its last
ReLU), fast-reid from 1.0 on and before (`heads`), and the strong baseline of Luo et al. (`bottleneck`)."""
GEM = "heads.pool_layer.p"
"""The power of fast-reid's pooling; that of an average is 1."""

IMAGENET: Mapping[SearchSpace, models.WeightsEnum] = {
    ResNet(depth=18): models.ResNet18_Weights.IMAGENET1K_V1,
    ResNet(depth=34): models.ResNet34_Weights.IMAGENET1K_V1,
    ResNet(depth=50): models.ResNet50_Weights.IMAGENET1K_V1,
    ResNet(depth=101): models.ResNet101_Weights.IMAGENET1K_V1,
    ResNet(depth=152): models.ResNet152_Weights.IMAGENET1K_V1,
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
    own, trained = backbone.state_dict(), backbone
    found = of_network({DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in found.items()}, own, source)
    tensors = {name: tensor for name, tensor in found.items() if not name.startswith(HEADS)}
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


def load_head(net: ReIDNet, source: str) -> tuple[str, ...]:
    """Loads what `source` has of the layers between `net`'s backbone and its classifier; their names, which a line on
    standard error says, too.

    Raises ValueError for a network that pools otherwise than by an average.
    """
    if source == "imagenet":
        return ()
    tensors = read_checkpoint(Path(source))
    if GEM in tensors and (power := tensors[GEM].float().mean().item()) != 1:
        raise ValueError(
            f"{source} is of a network that pools by generalised means (power {power:.3g}), and ours average: take a "
            "checkpoint of one that averages, such as BoT's"
        )
    loaded = tuple(name for name in HEAD_LAYERS if _load_layer(net.get_submodule(name), name, tensors, source))
    print(f"nas: {source!r}: behind the backbone it has {quoted(loaded) if loaded else 'nothing'}", file=sys.stderr)
    return loaded


def _load_layer(layer: nn.Module, name: str, tensors: Mapping[str, Tensor], source: str) -> bool:
    """Whether the file has the layer, which then has its tensors."""
    own = layer.state_dict()
    for prefix in HEAD_LAYERS[name]:
        found = {key: tensors[prefix + key] for key in own if prefix + key in tensors}
        if own and _shapes(found) == _shapes(own):
            load_into(layer, own | found, source)
            return True
    return False


def check_same_architecture(source: str, space: StudentSpace, architecture: Architecture | None) -> None:
    """Raises ValueError where `source` is a file of this project whose backbone has another architecture than that of
    `space`: other inputs of a node need not change any tensor's name or shape. A published one may be inherited from.
    """
    path = Path(source)
    if path.suffix != ".safetensors":
        return
    held = load_weights(path)[1].get("architecture")
    theirs = _of_backbone(Architecture.from_dict(held)) if held else {}
    own = _of_backbone(architecture or space.published())
    if theirs and own and theirs != own:
        raise ValueError(
            f"the pretrained file {source!r} is of another architecture than the network: pretrain this one with "
            "`nas pretrain`, or give the file's own as --architecture"
        )


def _of_backbone(architecture: Architecture) -> dict[str, object]:
    return {name: answer for name, answer in architecture.decisions.items() if name.startswith("backbone.")}


def freeze(net: ReIDNet, inherited: Inherited, layers: Collection[str]) -> None:
    """Keeps what a file has given from being trained: of the backbone what is `inherited`, and `layers` behind it."""
    for name, parameter in net.backbone.named_parameters():
        parameter.requires_grad_(name not in inherited.taken)
    for name in layers:
        net.get_submodule(name).requires_grad_(False)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Of all but the counters, which old checkpoints lack."""
    return {name: tensor.shape for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def check_there(source: str) -> None:
    """Raises ValueError when `source`, what a training starts from, is a path and no file lies there."""
    if source not in ("", "imagenet") and (why := not_a_file(Path(source))):
        raise ValueError(f"the file of pretrained weights {source} {why}: give the path of a torchvision checkpoint")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file, or from a torch checkpoint read without running anything in it.

    What trainers put around it is taken off: an outer mapping, and what wrappers add to the names, as often as it is
    there. Raises ValueError naming the file when it is damaged, or the keys when it is not clear where the weights are.
    """
    check_there(str(path))
    state = load_weights(path)[0] if path.suffix == ".safetensors" else load_state(path)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must hold tensors by name (a state dict), not a {type(state).__name__}")
    return _without_wrappers(_state_dict(state, path), path)


def _state_dict(state: Mapping, path: Path) -> dict[str, Tensor]:
    """The only mapping of tensors by name in a checkpoint, in the first of the usual `WRAPPINGS` or anywhere."""
    while wrapped := [state[key] for key in WRAPPINGS if isinstance(state.get(key), Mapping)]:
        state = wrapped[0]
    found = dict(_mappings_of_tensors(state)) or {"": state}
    if len(found) > 1:
        raise ValueError(
            f"{path} must hold the weights of one network, and has tensors under {quoted(found)}: save "
            "those that are meant alone"
        )
    [held] = found.values()
    tensors = {name: tensor for name, tensor in held.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError(f"{path} must hold tensors by name (a state dict), and holds {quoted(state)}")
    return tensors


def _mappings_of_tensors(state: Mapping, where: str = "", depth: int = 3) -> Iterator[tuple[str, Mapping]]:
    """The mappings in `state` that have arrays of numbers by name, but for what optimisers keep, by their keys."""
    for key, value in state.items():
        if not (depth and isinstance(key, str) and isinstance(value, Mapping)) or "optim" in key:
            continue
        is_weights = any(isinstance(name, str) and isinstance(t, Tensor) and t.ndim for name, t in value.items())
        yield from [(where + key, value)] if is_weights else _mappings_of_tensors(value, f"{where}{key}.", depth - 1)


def _without_wrappers(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors by the names that their network itself gives them."""
    names = {name: name for name in tensors if name != AVERAGED}
    while True:
        last = names
        for part in INSIDE:
            names = {name: inner.replace(part, "") for name, inner in names.items()}
        names = {name: inner.removeprefix(PARALLEL) for name, inner in names.items()}
        if inner_names := {name: inner for name, inner in names.items() if inner.startswith(LIGHTNING)}:
            names = {name: inner.removeprefix(LIGHTNING) for name, inner in inner_names.items()}
        if names == last:
            break
    if len(set(names.values())) < len(names):
        twice = next(inner for inner in names.values() if [*names.values()].count(inner) > 1)
        both = " and ".join(repr(name) for name, inner in names.items() if inner == twice)
        raise ValueError(f"{path} must hold one tensor {twice!r}, and has {both}: save those that are meant alone")
    return {inner: tensors[name] for name, inner in names.items()}


def of_network(tensors: Mapping[str, Tensor], own: Collection[str], source: str) -> dict[str, Tensor]:
    """The tensors of the network whose names are `own`, where the file has all of them behind one prefix.

    Trainers of other tasks write `backbone.` or `base.` there, and other parts beside it. A line on standard error says
    what is taken. Where there is no such prefix, or more than one, all tensors are given back.
    """
    needed = [name for name in own if not name.endswith(COUNTER)]
    prefixes = {name.removesuffix(needed[0]) for name in tensors if name.endswith(f".{needed[0]}")}
    whole = [prefix for prefix in prefixes if all(prefix + name in tensors for name in needed)]
    if len(whole) != 1 or any(name in tensors for name in needed):
        return dict(tensors)
    found = {name.removeprefix(whole[0]): t for name, t in tensors.items() if name.startswith(whole[0])}
    print(
        f"nas: {source!r}: {len(found)} tensors behind {quoted(whole)} are taken, {len(tensors) - len(found)} are left",
        file=sys.stderr,
    )
    return found


def _imagenet(space: SearchSpace) -> Mapping[str, Tensor]:
    same_weights = replace(cast(Any, space), last_stride=2) if "last_stride" in vars(space) else space
    if same_weights not in IMAGENET:
        known = ", ".join(known.title for known in IMAGENET)
        raise ValueError(
            f"there are no ImageNet weights for {space}: torchvision has them for {known}; "
            "leave `pretrained` empty to start from scratch, or give the path of a checkpoint, such as `nas pretrain` "
            "writes"
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
