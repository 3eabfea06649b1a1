"""A network for person search, taken to anybody's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.augment import normalise
from nas.data.scene_cache import SceneSize
from nas.models.extractor import Given, ImageLike, device_named, load_network
from nas.system.files import blamed_on, digest
from nas.system.run_config import read_config
from students.scenes import UNKNOWN, Detections, SceneAnswer, Scenes

MULTIPLE = 32
"""Of which the sides of a frame are multiples, with what it is filled up with."""


class FoundPerson(NamedTuple):
    """A person in a frame."""

    box: tuple[float, float, float, float]
    """x, y, width, height in the frame's pixels."""
    score: float
    feature: Tensor
    """`[D]`, of length 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonFinder:
    """A network that finds persons in whole frames, and describes them."""

    net: torch.nn.Module
    size: SceneSize
    path: Path
    id: str
    """Tells its features from those of other networks."""
    device: torch.device
    distance: ClassVar[Literal["cosine"]] = "cosine"

    @classmethod
    def open(cls, path: Path, device: str = "cpu") -> PersonFinder:
        """The network of a run of person search, from its file; device: `auto`, `cpu` or `cuda`.

        Raises ValueError for one that gives no features of persons or needs a query, and where no `config.json` beside
        it says the size of its frames.
        """
        network = load_network(path)
        if not getattr(network.net, "out_channels", 0):
            raise ValueError(f"{path} ({network.title}) only detects persons, it cannot tell them apart")
        if network.space.needs_query:
            raise ValueError(
                f"{path} ({network.title}) needs a query beside each frame: take a network that needs none, such as "
                "one that learns this one's identity table (--loss kd_reid)"
            )
        images = read_config(path.parent)["config"]["images"]
        with blamed_on(path.parent / "config.json"):
            size = SceneSize(short_side=images["short_side"], long_side=images["long_side"])
        whose = f"{digest(path)}-{size.short_side}x{size.long_side}"
        chosen = torch.device(device_named(device))
        return cls(net=network.net.eval().to(chosen), size=size, path=path, id=whose, device=chosen)

    def find(self, frame: Image.Image) -> list[FoundPerson]:
        """The persons in a frame in RGB, the surest first."""
        answer, ratio = self._answer(frame, np.zeros((0, 4)))
        found: Detections = answer.detections[0]
        corners = found.boxes.cpu().double().numpy() / ratio
        return [
            FoundPerson((x1, y1, x2 - x1, y2 - y1), score, feature)
            for (x1, y1, x2, y2), score, feature in zip(
                corners.tolist(), found.scores.tolist(), found.features.cpu(), strict=True
            )
        ]

    def __call__(self, images: Sequence[ImageLike], progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Features `[N, D]` of images of which each shows one person, as those of a gallery: the whole image is taken
        for the person's box."""
        given, features = Given(tuple(images)), []
        for i in range(len(given)):
            image = given.read(i)
            answer, _ = self._answer(image, np.array([[0, 0, *image.size]]))
            features.append(answer.described[0].cpu())
            if progress:
                progress(i + 1, len(given))
        return torch.cat(features)

    def _answer(self, image: Image.Image, boxes: np.ndarray) -> tuple[SceneAnswer, np.ndarray]:
        """What the network says of an image and of boxes in it `[N, 4]`, and how many of its pixels one of the image's
        is, for x1, y1, x2, y2."""
        width, height = self.size.scaled(*image.size)
        scaled = image.resize((width, height), Image.Resampling.BILINEAR) if image.size != (width, height) else image
        ratio = np.tile(np.array([width, height]) / np.array(image.size), 2)
        pixels = torch.from_numpy(np.array(scaled).transpose(2, 0, 1))
        padded = torch.zeros(1, 3, -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE)
        padded[:, :, :height, :width] = normalise(pixels[None])
        scenes = Scenes(
            padded.to(self.device),
            torch.tensor([[height, width]], device=self.device),
            (torch.as_tensor(boxes * ratio, dtype=torch.float32, device=self.device),),
            (torch.full((len(boxes),), UNKNOWN, device=self.device),),
        )
        with torch.inference_mode():
            return self.net(scenes), ratio
