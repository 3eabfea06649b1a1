"""What the synthetic data sets share: their fields, their splits, and an image source that draws."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from PIL import Image

from nas.data.base import ReIDData, Split
from nas.data.source import DataSource
from nas.data.synthetic.camera import Camera
from nas.system.config import OF_TEST
from search_spaces.ranges import Count, Pixels, Seed, TwoOrMore


@dataclass(frozen=True, kw_only=True)
class Synthetic(DataSource):
    """Identities that the program draws, of any number and size. A subclass says what they are by its `camera`."""

    camera: ClassVar[type[Camera]]

    num_train_ids: Count = 64
    """Identities to train on."""
    num_test_ids: Count = field(default=32, metadata=OF_TEST)
    """Identities to test on; none of them is trained on."""
    num_cameras: TwoOrMore = 4
    """Cameras, each with its own viewpoint, background, light and things in the way."""
    images_per_id: Count = 16
    """Images of each identity, from the cameras in turn; a test identity has at least two of each camera, of which one
    is a query and the others are gallery."""
    height: Pixels
    """Height of the images, in pixels."""
    width: Pixels
    """Width of the images, in pixels."""
    seed: Seed = 0
    """Seed of what the images show."""

    def listed(self) -> ReIDData:
        test_images = max(self.images_per_id, 2 * self.num_cameras)
        test = self._split("test", self.num_test_ids, test_images)
        of_identity = np.arange(len(test)) % test_images
        return ReIDData(
            name=type(self).__name__,
            train=self._split("train", self.num_train_ids, self.images_per_id),
            query=test.take(of_identity < self.num_cameras),
            gallery=test.take(of_identity >= self.num_cameras),
        )

    def _split(self, part: Literal["train", "test"], num_ids: int, images_per_id: int) -> Split:
        ids, number = np.divmod(np.arange(num_ids * images_per_id), images_per_id)
        images = SyntheticImages(source=self, part=part, num_ids=num_ids, images_per_id=images_per_id)
        first = 0 if part == "train" else self.num_train_ids
        return Split(images=images, ids=first + ids, cameras=number % self.num_cameras)


@dataclass(frozen=True, kw_only=True)
class SyntheticImages:
    """An image source that draws. Image `i` depends on the seed, the part, the size and `i` only; identity and camera
    come from `i`, so the same picture comes back however often, and in whatever order, it is read."""

    source: Synthetic
    part: Literal["train", "test"]
    num_ids: int
    images_per_id: int

    always_readable = True

    def __len__(self) -> int:
        return self.num_ids * self.images_per_id

    def read(self, i: int) -> Image.Image:
        if not 0 <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}")
        identity, number = divmod(i, self.images_per_id)
        camera = self._cameras[number % self.source.num_cameras]
        appearance = camera.appearance(self._rng(3, identity))
        return camera.picture(appearance, self._rng(4, i), self.source.height, self.source.width)

    def name(self, i: int) -> str:
        identity, number = divmod(i, self.images_per_id)
        folder = f"{type(self.source).__name__.lower()}/{self.part}"
        return f"{folder}/{identity:04d}_c{number % self.source.num_cameras}_{number:03d}"

    @cached_property
    def _cameras(self) -> list[Camera]:
        return [self.source.camera.drawn(self.source.seed, number) for number in range(self.source.num_cameras)]

    def _rng(self, stream: int, i: int) -> np.random.Generator:
        return np.random.default_rng([self.source.seed, stream, ("train", "test").index(self.part), i])
