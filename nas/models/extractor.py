"""Features of anybody's images: one class for every kind of file that holds a network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from nas.data.base import Split
from nas.data.cache import ImageCache
from nas.data.images import NUM_THREADS, Files, reason_of, to_rgb
from nas.data.resident import sent
from nas.models.card import KEY, Card
from nas.models.network import Network
from nas.models.onnx import OnnxNet, open_session
from nas.models.openvino import OpenvinoNet, read_openvino
from nas.system.files import blamed_on, digest
from nas.system.plugins import load_packages, load_sources
from nas.system.run_config import read_config

STUDENT = "student.safetensors"
"""The network of a run's folder."""
NETWORK_FILES = (".safetensors", ".onnx", ".xml")
"""Endings of the files that an extractor takes."""
FINDS_PERSONS = {"boxes", "scores"}
"""Outputs of a network for person search."""
IMAGENET = "ImageNet's mean and standard deviation"

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
Size = tuple[int | None, int | None]
"""Height and width, as far as they are known."""


class Extractor:
    """A network for crops that turns images into features.

    path: a run's folder (its student), a `.safetensors` file of this toolkit, an `.onnx` or an OpenVINO `.xml` file.
    Size, mean and standard deviation are those of the file's card. Where it has none, they are taken from the run's
    `config.json` beside it, or assumed, and standard error says what.

    height, width: of the images, for a file that does not say; another size than its own is refused. batch_size: images
    in a forward pass. device: of a torch network; ONNX and OpenVINO files run on the CPU. unit_length: gives features
    of length 1; otherwise they are as the network gives them, which is what `nas evaluate` saves. max_gib: memory for
    decoded images; what does not fit is decoded twice.

    Raises ValueError for what holds no such network, and where the size is not known.
    """

    card: Card
    """Thresholds are those of the file."""
    id: str
    """Tells features of this network from those of others: a digest of its file, and the images' size."""

    def __init__(
        self,
        path: str | Path,
        *,
        height: int | None = None,
        width: int | None = None,
        batch_size: int = 128,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        unit_length: bool = False,
        max_gib: float = 8.0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.path = network_file(Path(path))
        opened = OPENERS[self.path.suffix](self.path, (height, width))
        self.card, self.batch_size, self.unit_length, self.max_gib = opened.card, batch_size, unit_length, max_gib
        self.id = f"{opened.digest}-{self.card.height}x{self.card.width}"
        self._device = torch.device(device_named(device) if opened.is_torch else "cpu")
        self._net = opened.net.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
        scale = torch.tensor([self.card.mean, self.card.std]).mul(255).view(2, 3, 1, 1)
        self._mean, self._std = scale.to(self._device)

    @property
    def distance(self) -> Literal["cosine", "euclidean"]:
        """What its features are compared by."""
        return self.card.distance

    def __call__(self, images: Sequence[ImageLike], progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Features float32 `[N, D]` on the CPU, in the order of the images.

        Files of any format that Pillow opens are turned as their orientation tag says. Arrays are uint8 `[H, W, 3]` in
        RGB, tensors uint8 `[3, H, W]`, of any size. Every image is read before the first forward pass; ValueError names
        the files that cannot be. progress: called with (images done, images in all) while they are decoded.
        """
        if isinstance(images, str | Path | Image.Image) or not len(images):
            raise ValueError(f"images must be a list of one image or more, got {_described(images)}")
        cache = ImageCache(
            Split(images=Given(tuple(images)), ids=np.zeros(len(images), dtype=np.int64)),
            self.card.height,
            self.card.width,
            max_gib=self.max_gib,
            num_threads=min(NUM_THREADS, len(images)),
            progress=progress,
            remedy="Replace or remove them",
        )
        starts = range(0, len(cache), self.batch_size)
        with torch.inference_mode():
            parts = [
                self._features(cache.get(np.arange(start, min(start + self.batch_size, len(cache)))))
                for start in starts
            ]
        features = torch.cat(parts).cpu()
        return F.normalize(features) if self.unit_length else features

    def _features(self, images: Tensor) -> Tensor:
        """Of images uint8 `[B, 3, height, width]`."""
        images = sent(images, self._device)
        if self.card.takes == "normalised":
            images = images.float().sub_(self._mean).div_(self._std)
        output = self._net(images.contiguous(memory_format=torch.channels_last))
        return getattr(output, "feature", output).float()


@dataclass(frozen=True)
class Given:
    """Images as a caller has them, as an `ImageSource`."""

    images: tuple[ImageLike, ...]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, i: int) -> str:
        return str(image) if isinstance(image := self.images[i], str | Path) else f"image {i}"

    def read(self, i: int) -> Image.Image:
        image = self.images[i]
        if isinstance(image, str | Path):
            return Files((Path(image),), upright=True).read(0)
        if isinstance(image, Image.Image):
            try:
                return to_rgb(image, upright=True)
            except Exception as error:  # Pillow's decoders raise nearly every type
                raise ValueError(f"cannot read image {i}: {reason_of(error)}") from error
        pixels: Any = image
        if isinstance(image, Tensor):
            pixels = image.detach().cpu().movedim(0, -1).numpy() if image.ndim == 3 else image.numpy()
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"image {i} must be a file, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W], got "
                f"{_described(image)}"
            )
        return Image.fromarray(np.ascontiguousarray(pixels))


def _described(value: object) -> str:
    if isinstance(value, np.ndarray | Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return repr(value) if isinstance(value, str | Path) else f"a {type(value).__name__}" + " of none" * (value == [])


def network_file(path: Path) -> Path:
    """The network's file: `path`, or the student of a run's folder. Raises ValueError where there is none."""
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} must be a run's folder or a network's file, and has no config.json")
        if not (path / STUDENT).is_file():
            raise ValueError(f"{path} has no {STUDENT} yet: `nas retrain {path}` comes first")
        return path / STUDENT
    if path.suffix not in NETWORK_FILES:
        raise ValueError(f"a network's file ends in {', '.join(NETWORK_FILES)}, not {path.name!r}")
    if not path.is_file():
        raise ValueError(f"the network {path} does not exist")
    return path


def device_named(device: str) -> str:
    """`cuda` or `cpu`. Raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was asked for, but torch sees none: take cpu, or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Opened:
    """A network, its card, and what tells its file from others."""

    net: nn.Module
    card: Card
    digest: str
    is_torch: bool = False


def load_network(path: Path) -> Network:
    """The network in a `.safetensors` file, whose classes a run's `config.json` beside it may name."""
    load_packages()
    config = path.parent / "config.json"
    if config.is_file():
        load_sources(config, read_config(path.parent)["plugins"])
    return Network.load(path)


def _torch(path: Path, size: Size) -> Opened:
    network = load_network(path)
    if network.space.task == "person_search":
        raise ValueError(
            f"{path} ({network.title}) finds persons in whole frames, and here are crops: give a network for crops; "
            "`nas match` takes this one"
        )
    if not network.space.answers_images:
        raise ValueError(f"{path} ({network.title}) can only teach: give a student's file")
    card = network.card
    if card is None:
        own, distance = _of_config(path.parent)
        card = network.card_for(*agreed(path, own, size), distance)
        if own == (None, None):
            _say_assumed(path, card, (IMAGENET, f"{distance} distance"))
    agreed(path, (card.height, card.width), size)
    return Opened(network.net, card, digest(path), is_torch=True)


def _of_config(folder: Path) -> tuple[Size, Literal["cosine", "euclidean"]]:
    """The size of a run's images, and the distance of its evaluation."""
    if not (folder / "config.json").is_file():
        return (None, None), "cosine"
    config = read_config(folder)["config"]
    with blamed_on(folder / "config.json"):
        images, evaluation = config["images"] or {}, config.get("evaluation") or {}
        is_euclidean = evaluation.get("distance") == "euclidean"
        return (images.get("height"), images.get("width")), "euclidean" if is_euclidean else "cosine"


def _onnx(path: Path, size: Size) -> Opened:
    session = open_session(path)
    _check_gives_features(path, [output.name for output in session.get_outputs()])
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    inputs = session.get_inputs()
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape] if inputs else []
    card = _card_of(path, text, shape, size, "tensor(uint8)" in [each.type for each in inputs])
    return Opened(OnnxNet(path, card.height, card.width, card.takes == "uint8"), card, digest(path))


def _openvino(path: Path, size: Size) -> Opened:
    model = read_openvino(path)
    _check_gives_features(path, [name for output in model.outputs for name in output.get_names()])
    text = str(model.get_rt_info([KEY]).astype(str)) if model.has_rt_info([KEY]) else None
    first = model.inputs[0] if model.inputs else None
    sides = first.get_partial_shape() if first else []
    shape = [None if side.is_dynamic else side.get_length() for side in sides]
    is_bytes = first is not None and first.get_element_type().get_type_name() == "u8"
    card = _card_of(path, text, shape, size, is_bytes)
    weights = path.with_suffix(".bin")
    both = digest(path) + (digest(weights) if weights.is_file() else "")
    return Opened(OpenvinoNet(path, model, card.takes == "uint8"), card, both)


def _check_gives_features(path: Path, outputs: Sequence[str]) -> None:
    if set(outputs) >= FINDS_PERSONS:
        raise ValueError(
            f"{path} finds persons in whole frames, and here are crops: give a network for crops; `nas match` takes "
            "the run that this was exported from"
        )


def _card_of(path: Path, text: str | None, shape: Sequence[int | None], size: Size, is_bytes: bool) -> Card:
    """The card that a file has as `text`, or what is assumed of one that has none."""
    if text is not None:
        card = Card.from_json(text, path)
        agreed(path, (card.height, card.width), size)
        return card
    own = (shape[2], shape[3]) if len(shape) == 4 else (None, None)
    height, width = agreed(path, own, size)
    card = Card(height=height, width=width, takes="uint8" if is_bytes else "normalised")
    _say_assumed(path, card, ("cosine distance",) if is_bytes else (IMAGENET, "cosine distance"))
    return card


def _say_assumed(path: Path, card: Card, assumed: Sequence[str]) -> None:
    what = ", ".join([f"images of {card.height}x{card.width} in RGB", *assumed])
    print(f"nas: {path} has no card that says how it is used: assumed are {what}", file=sys.stderr)


def agreed(path: Path, own: Size, asked: Size) -> tuple[int, int]:
    """Height and width: the file's `own` as far as it has them, else those that are `asked` for.

    Raises ValueError where the two differ, and where neither says.
    """
    for mine, theirs in zip(own, asked, strict=True):
        if None not in (mine, theirs) and mine != theirs:
            sides = "x".join("any" if side is None else str(side) for side in own)
            raise ValueError(f"{path} takes images of {sides} (height x width), not {theirs}: leave the size out")
    height, width = own[0] or asked[0], own[1] or asked[1]
    if height is None or width is None:
        raise ValueError(
            f"{path} does not say how large its images are: give --height and --width, as it was trained with"
        )
    return height, width


OPENERS: dict[str, Callable[[Path, Size], Opened]] = {".safetensors": _torch, ".onnx": _onnx, ".xml": _openvino}
