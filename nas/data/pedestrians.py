"""The embedded data set: pedestrians drawn by the program, so that everything can be tried without any download."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

from nas.data.base import DataSource, ReIDData, Split
from nas.data.pedestrian_figure import Appearance, drawn_appearance
from nas.data.pedestrian_scene import Camera


@dataclass(frozen=True, kw_only=True)
class Pedestrians(DataSource):
    """Drawn pedestrians, of any number and size.

    Colours are few and shared, cameras differ in light and viewpoint, and framing, pose and what stands in the way
    change with each image. Measured with the default fields, mAP across cameras, seeds 0 / 1 / 2 (chance: 0.04):
    linear discriminants of RGB histograms (8 x 8 x 8 bins) 0.05 / 0.09 / 0.05, of six stripes of them
    0.14 / 0.32 / 0.13. A plain network of four convolutions, trained with labels only (seed 0, 96x48): 0.06 after
    5 epochs and 0.35 after 20 with 6,592 parameters, 0.29 and 0.40 with 98,944. With 256 training identities, 64x32:
    0.17 after 4 epochs and 0.47 after 12, 0.54 and 0.59.

    num_cameras: each with its own viewpoint, background, light and things in the way.
    images_per_id: spread over the cameras in turn. Of a test identity one image per camera is a query and all others
        are the gallery, so test identities get at least two images per camera.
    height, width: of the images, in pixels.
    """

    num_train_ids: int = 64
    num_test_ids: int = 32
    num_cameras: int = 4
    images_per_id: int = 16
    height: int = 128
    width: int = 64
    seed: int = 0

    def listed(self) -> ReIDData:
        self._check()
        test_images = max(self.images_per_id, 2 * self.num_cameras)
        test = self._split("test", self.num_test_ids, test_images)
        of_identity = np.arange(len(test)) % test_images
        return ReIDData(
            name="Pedestrians",
            train=self._split("train", self.num_train_ids, self.images_per_id),
            query=test.take(of_identity < self.num_cameras),
            gallery=test.take(of_identity >= self.num_cameras),
        )

    def _check(self) -> None:
        least = {"num_train_ids": 1, "num_test_ids": 1, "num_cameras": 2, "images_per_id": 1, "height": 16, "width": 8}
        for field, minimum in least.items():
            if getattr(self, field) < minimum:
                raise ValueError(f"Pedestrians needs {field} >= {minimum}; got {getattr(self, field)}")

    def _split(self, part: Literal["train", "test"], num_ids: int, images_per_id: int) -> Split:
        ids, number = np.divmod(np.arange(num_ids * images_per_id), images_per_id)
        images = Drawings(
            part=part, num_ids=num_ids, images_per_id=images_per_id, num_cameras=self.num_cameras,
            height=self.height, width=self.width, seed=self.seed,
        )  # fmt: skip
        first = 0 if part == "train" else self.num_train_ids
        return Split(images=images, ids=first + ids, cameras=number % self.num_cameras)


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """An image source that draws. Image `i` depends on the seed, the part, the size and `i` only; identity and camera
    come from `i`, so the same picture comes back however often, and in whatever order, it is read."""

    part: Literal["train", "test"]
    num_ids: int
    images_per_id: int
    num_cameras: int
    height: int
    width: int
    seed: int

    always_readable = True

    def __len__(self) -> int:
        return self.num_ids * self.images_per_id

    def read(self, i: int) -> Image.Image:
        if not 0 <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}")
        identity, number = divmod(i, self.images_per_id)
        camera = self._cameras[number % self.num_cameras]
        return camera.picture(self.person(identity), self._rng(4, i), self.height, self.width)

    def name(self, i: int) -> str:
        identity, number = divmod(i, self.images_per_id)
        return f"pedestrians/{self.part}/{identity:04d}_c{number % self.num_cameras}_{number:03d}"

    def person(self, identity: int) -> Appearance:
        return drawn_appearance(self._rng(3, identity))

    @cached_property
    def _cameras(self) -> list[Camera]:
        return [Camera.drawn(self.seed, number) for number in range(self.num_cameras)]

    def _rng(self, stream: int, i: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, ("train", "test").index(self.part), i])
