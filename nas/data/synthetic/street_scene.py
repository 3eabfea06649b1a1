"""A street with several people in it, and the box of each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from nas.data.synthetic.camera import SUPERSAMPLED
from nas.data.synthetic.pedestrian_figure import Appearance, Figure
from nas.data.synthetic.pedestrian_scene import PedestrianCamera

GROUND = (255, 0, 255)
"""What a figure is painted on to tell which pixels are its own: a colour that no figure has."""
LEAST_VISIBLE = 0.25
NUM_TRIES = 100
HEAD = 0.28
"""Where the heads of all are, in picture heights from the top: the camera is at that height."""


class Placed(NamedTuple):
    """A person painted alone, where that goes on the canvas, and which pixels of the canvas are the person's.

    size: pixels per body height, and thereby how near. num_pixels: of the whole person, those outside included.
    """

    picture: Image.Image
    corner: tuple[int, int]
    mask: np.ndarray
    size: float
    num_pixels: int

    @property
    def box(self) -> np.ndarray:
        """x1, y1, x2, y2 in pixels of the canvas: of the person as far as the canvas goes."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class StreetCamera(PedestrianCamera):
    """A camera beside a street, at the height of people's heads: who is nearer is larger and stands lower."""

    horizons = (0.22, 0.34)
    clutter = (0.36, 0.5)
    light_spread = 0.08

    def place(self, people: Sequence[Appearance], rng: np.random.Generator, height: int, width: int) -> list[Placed]:
        """`people` in a picture [height, width], each where `rng` says, so that at least a quarter of everybody is in
        the picture and not hidden by nearer people. Raises ValueError when there is no room for that."""
        canvas = height * SUPERSAMPLED, width * SUPERSAMPLED
        placed: list[Placed] = []
        for who in people:
            tries = ([*placed, self._placed(who, rng, *canvas)] for _ in range(NUM_TRIES))
            found = next((each for each in tries if are_visible(each)), None)
            if found is None:
                raise ValueError(f"{len(people)} people find no room in a scene of {height}x{width}: take fewer")
            placed = found
        return placed

    def scene(self, placed: Sequence[Placed], rng: np.random.Generator, height: int, width: int) -> Image.Image:
        """The picture [height, width] of people whom `place` has placed, far ones first."""
        canvas = self._backdrop(rng, height * SUPERSAMPLED, width * SUPERSAMPLED)
        pen = ImageDraw.Draw(canvas)
        for one in sorted(placed, key=lambda one: one.size):
            left, _, right, bottom = one.box
            pen.ellipse((left, bottom - 0.04 * one.size, right, bottom + 0.02 * one.size), fill=(52, 52, 54))
            canvas.paste(one.picture, one.corner, mask_of(one.picture))
        return self._developed(canvas, height / 2, rng)

    def _placed(self, who: Appearance, rng: np.random.Generator, height: int, width: int) -> Placed:
        size = rng.uniform(0.28, 0.56) * height
        feet = HEAD * height + 1.02 * size
        box = round(1.4 * size), round(1.3 * size)
        yaw, phase = self.yaw + rng.normal(0, 0.4), rng.uniform(0, 2 * pi)
        picture = Image.new("RGB", box, GROUND)
        Figure(who, yaw=yaw, phase=phase, x=box[0] / 2, y=1.15 * size, size=size).paint(picture)
        corner = round(rng.uniform(0, width) - box[0] / 2), round(feet - 1.15 * size)
        own, mask = mask_of(picture), Image.new("1", (width, height))
        mask.paste(own, corner)
        return Placed(picture, corner, np.asarray(mask), size, int(np.asarray(own).sum()))


def mask_of(picture: Image.Image) -> Image.Image:
    """Which pixels of a person who was painted alone are the person's."""
    return Image.fromarray((np.asarray(picture) != GROUND).any(axis=2))


def are_visible(placed: Sequence[Placed]) -> bool:
    """Whether at least a quarter of each person is in the picture and not hidden by nearer ones."""
    hidden = np.zeros_like(placed[0].mask)
    for one in sorted(placed, key=lambda one: -one.size):
        if (one.mask & ~hidden).sum() < LEAST_VISIBLE * one.num_pixels:
            return False
        hidden = hidden | one.mask
    return True
