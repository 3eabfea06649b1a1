"""Synthetic scenes as an image source, and who is in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from nas.data.sampling import identity_batches
from nas.data.scenes import NO_IDENTITY, SceneSplit
from nas.data.synthetic.camera import SUPERSAMPLED
from nas.data.synthetic.pedestrian_figure import drawn_appearance
from nas.data.synthetic.street_scene import Placed, StreetCamera

PARTS = ("train", "test")
PLACES, PICTURES, ROUNDS, PEOPLE, PASSERS_BY = range(6, 11)
"""Streams of random numbers; cameras and crops have those below."""


@dataclass(frozen=True, kw_only=True)
class StreetScenes:
    """The scenes of one part. Scene `i` depends on these fields, the part and `i` only, so the same picture comes back
    however often, and in whatever order, it is read.

    ids_per_scene: who is in a scene comes from rounds, in each of which every identity comes by once in random order.
    most_passers_by: of people without identity, whose number is drawn for each scene.
    """

    part: Literal["train", "test"]
    num_scenes: int
    num_ids: int
    num_cameras: int
    ids_per_scene: int
    most_passers_by: int
    height: int
    width: int
    seed: int

    always_readable = True

    def __len__(self) -> int:
        return self.num_scenes

    def read(self, i: int) -> Image.Image:
        if not 0 <= i < len(self):
            raise IndexError(f"scene {i} of {len(self)}")
        camera = self.camera(i)
        return camera.scene(self.placed(i), self._rng(PICTURES, i), self.height, self.width)

    def name(self, i: int) -> str:
        return f"street/{self.part}/c{i % self.num_cameras}_{i:04d}"

    def split(self, first_id: int) -> SceneSplit:
        """The part with its boxes; identities are numbered from `first_id` on."""
        boxes, ids = [], []
        for i in range(len(self)):
            corners = boxes_of(self, i)
            known = self._identities[i] + first_id
            boxes.append(corners)
            ids.append(np.concatenate([known, np.full(len(corners) - len(known), NO_IDENTITY)]))
        cameras = np.arange(len(self)) % self.num_cameras
        return SceneSplit(images=self, boxes=tuple(boxes), ids=tuple(ids), cameras=cameras)

    @cached_property
    def _identities(self) -> np.ndarray:
        """Who is in each scene, int64 [num_scenes, ids_per_scene], nobody twice."""
        rng = self._rng(ROUNDS, 0)
        return np.array(list(identity_batches(self.num_ids, self.ids_per_scene, len(self), rng)))

    @cached_property
    def _cameras(self) -> list[StreetCamera]:
        return [StreetCamera.drawn(self.seed, number) for number in range(self.num_cameras)]

    def camera(self, i: int) -> StreetCamera:
        return self._cameras[i % self.num_cameras]

    def placed(self, i: int) -> list[Placed]:
        """The people of scene `i`: first those with an identity, then passers-by."""
        rng = self._rng(PASSERS_BY, i)
        known = [drawn_appearance(self._rng(PEOPLE, int(identity))) for identity in self._identities[i]]
        others = [drawn_appearance(rng) for _ in range(rng.integers(0, self.most_passers_by + 1))]
        return self.camera(i).place([*known, *others], self._rng(PLACES, i), self.height, self.width)

    def _rng(self, stream: int, i: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, PARTS.index(self.part), i])


@lru_cache(maxsize=2**14)
def boxes_of(scenes: StreetScenes, i: int) -> np.ndarray:
    """The boxes of scene `i` in pixels of its picture, float64 [N, 4], not to be written to: every stage asks again."""
    return np.array([one.box for one in scenes.placed(i)]).reshape(-1, 4) / SUPERSAMPLED
