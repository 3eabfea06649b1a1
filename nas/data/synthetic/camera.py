"""The cameras of the synthetic data sets: a viewpoint, a background, a light, and things in the way."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLED = 2
WALLS = ("bricks", "windows", "hedge", "tiles")

Colour = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Camera(ABC):
    """One camera: from where it looks, how it renders light, and what stands behind. All drawn from (seed, number).

    What is pictured, and what may hide it, is the subclass's matter. Nothing here depends on who is pictured.
    """

    yaws: ClassVar[tuple[float, ...]]  # radians, of the cameras in turn
    horizons: ClassVar[tuple[float, float]]  # where the ground ends, in image heights from the top: from, to
    clutter: ClassVar[tuple[float, float]]  # where things in the background stand, likewise
    light_spread: ClassVar[float] = 0.22  # of the logarithm of each picture's light

    seed: int
    number: int
    yaw: float  # radians: how those who go the usual way are turned
    scale: float  # share of the image that the average one fills
    shift: float  # from the image's middle, in image heights
    gains: tuple[float, float, float]  # of red, green and blue
    gamma: float
    blur: float  # radius in image heights
    occluded: float  # probability of something in front

    @classmethod
    def drawn(cls, seed: int, number: int) -> Self:
        rng = np.random.default_rng([seed, 1, number])
        gains = np.exp(rng.normal(0, 0.17, 3)) * rng.uniform(0.65, 1.15)
        return cls(
            seed=seed, number=number, yaw=cls.yaws[number % len(cls.yaws)], scale=rng.uniform(0.8, 0.93),
            shift=rng.uniform(-0.03, 0.03), gains=tuple(gains.tolist()), gamma=float(np.exp(rng.normal(0, 0.22))),
            blur=rng.uniform(0.0, 0.007), occluded=rng.uniform(0.1, 0.35),
        )  # fmt: skip

    @staticmethod
    @abstractmethod
    def appearance(rng: np.random.Generator) -> Any:
        """An identity by chance."""

    @staticmethod
    @abstractmethod
    def ground(
        pen: ImageDraw.ImageDraw, canvas: Image.Image, horizon: int, colour: Colour, rng: np.random.Generator
    ) -> None:
        """Draws what lies on the ground, which is filled with `colour` from `horizon` down."""

    @abstractmethod
    def subject(self, canvas: Image.Image, who: Any, rng: np.random.Generator) -> None:
        """Draws `who`, in a pose and place that `rng` decides."""

    @abstractmethod
    def passer_by(self, canvas: Image.Image, rng: np.random.Generator, behind: bool) -> None:
        """Draws someone else, cut by the image's edge, behind or in front of the place of the subject."""

    @abstractmethod
    def occluder(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        """Draws something in front of the subject."""

    def picture(self, who: Any, rng: np.random.Generator, height: int, width: int) -> Image.Image:
        """A picture of `who`, [height, width], with the pose, place and disturbance that `rng` decides."""
        canvas = self._backdrop(rng, height * SUPERSAMPLED, width * SUPERSAMPLED)
        if rng.random() < 0.15:
            self.passer_by(canvas, rng, behind=True)
        self.subject(canvas, who, rng)
        if rng.random() < self.occluded:
            self.occluder(canvas, rng)
        return self._developed(canvas, height, rng)

    def _backdrop(self, rng: np.random.Generator, height: int, width: int) -> Image.Image:
        scene = backdrop(self.seed, self.number, height, width, self.horizons, self.ground)
        left, top = (int(rng.integers(extra + 1)) for extra in (scene.width - width, scene.height - height))
        canvas = scene.crop((left, top, left + width, top + height))
        pen = ImageDraw.Draw(canvas)
        for _ in range(rng.integers(0, 4)):
            _clutter(pen, rng.uniform(-0.1, 1) * width, rng.uniform(*self.clutter) * height, height, rng)
        return canvas

    def _developed(self, canvas: Image.Image, unit: float, rng: np.random.Generator) -> Image.Image:
        """The picture that the camera takes of what is on `canvas`; `unit` is what its blur is relative to."""
        image = canvas.reduce(SUPERSAMPLED)
        radius = self.blur * unit * rng.uniform(0.5, 1.5)
        if radius > 0.2:
            image = image.filter(ImageFilter.GaussianBlur(radius))
        return self._exposed(image, rng)

    def _exposed(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """`image` under this camera's light and sensor: gains, gamma and noise, a little different each time."""
        gains = np.array(self.gains) * np.exp(rng.normal(0, 0.1, 3)) * np.exp(rng.normal(0, self.light_spread))
        levels = np.arange(256)[:, None] / 255
        table = 255 * np.clip(levels * gains, 0, 1) ** (self.gamma * np.exp(rng.normal(0, 0.08)))
        image = image.point(table.T.astype(np.uint8).ravel().tolist())
        noise = rng.integers(-6, 7, (image.height, image.width, 1), dtype=np.int16)
        return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def pole(pen: ImageDraw.ImageDraw, x: float, unit: int, colour: Colour, rng: np.random.Generator) -> None:
    pen.rectangle((x, 0, x + rng.uniform(0.015, 0.05) * unit, unit), fill=colour)


def litter_bin(pen: ImageDraw.ImageDraw, x: float, unit: int, colour: Colour, rng: np.random.Generator) -> None:
    w, top = rng.uniform(0.1, 0.25) * unit, rng.uniform(0.65, 0.85) * unit
    pen.rounded_rectangle((x - w / 2, top, x + w / 2, unit), 0.02 * unit, fill=colour)


def _clutter(pen: ImageDraw.ImageDraw, x: float, y: float, unit: int, rng: np.random.Generator) -> None:
    """Something that stands on the ground at (x, y): a shrub, a box, a signpost or a parked car."""
    kind, size = rng.integers(4), rng.uniform(0.06, 0.16) * unit
    colour = tuple((rng.uniform(50, 170) + rng.normal(0, 25, 3)).clip(0, 255).astype(int).tolist())
    dark = tuple(value // 2 for value in colour)
    if kind == 0:
        for dx, dy, radius in rng.uniform((-0.6, -1.6, 0.3), (0.6, -0.3, 0.6), (9, 3)) * size:
            leaf = (40 + int(rng.integers(40)), 80 + int(rng.integers(60)), 50)
            pen.ellipse((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius), fill=leaf)
    elif kind == 1:
        pen.rectangle((x - size / 2, y - size, x + size / 2, y), fill=colour, outline=dark, width=2)
    elif kind == 2:
        pen.rectangle((x - 0.006 * unit, y - 0.5 * unit, x + 0.006 * unit, y), fill=(90, 92, 95))
        pen.rectangle((x - size / 2, y - 0.55 * unit, x + size / 2, y - 0.42 * unit), fill=colour, outline=dark)
    else:
        pen.rounded_rectangle((x - 2 * size, y - 0.8 * size, x + 2 * size, y - 0.2 * size), 0.2 * size, fill=colour)
        pen.polygon([(x - 1.2 * size, y - 0.8 * size), (x - 0.8 * size, y - 1.3 * size),
                     (x + 0.7 * size, y - 1.3 * size), (x + 1.2 * size, y - 0.8 * size)], fill=dark)  # fmt: skip
        for wheel in (x - 1.2 * size, x + 1.2 * size):
            pen.ellipse((wheel - 0.3 * size, y - 0.5 * size, wheel + 0.3 * size, y + 0.1 * size), fill=(30, 30, 32))


@lru_cache(maxsize=64)
def backdrop(
    seed: int, number: int, height: int, width: int, horizons: tuple[float, float], draw_ground: Callable[..., None]
) -> Image.Image:
    """What stands behind in a camera's pictures, wider and taller than one [height, width]; not to be drawn on."""
    rng = np.random.default_rng([seed, 2, number])
    canvas = Image.new("RGB", (width + int(0.6 * height), int(1.08 * height)))
    pen = ImageDraw.Draw(canvas)
    wall, ground = (tuple(rng.integers(70, 190, 3).tolist()) for _ in range(2))
    horizon = int(rng.uniform(*horizons) * height)
    pen.rectangle((0, 0, canvas.width, horizon), fill=wall)
    pen.rectangle((0, horizon, canvas.width, canvas.height), fill=ground)
    _wall(pen, WALLS[number % len(WALLS)], canvas.width, horizon, rng)
    draw_ground(pen, canvas, horizon, ground, rng)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize(canvas.size, Image.Resampling.BICUBIC)
    lit = Image.blend(canvas, Image.merge("RGB", [coarse] * 3), 0.18)
    grain = rng.integers(-10, 11, (canvas.height, canvas.width, 1))
    return Image.fromarray(np.clip(np.asarray(lit) + grain, 0, 255).astype(np.uint8))


def _wall(pen: ImageDraw.ImageDraw, kind: str, width: int, horizon: int, rng: np.random.Generator) -> None:
    step = max(4, horizon // {"bricks": 14, "windows": 3, "hedge": 12, "tiles": 7}[kind])
    dark = tuple(rng.integers(30, 90, 3).tolist())
    if kind == "hedge":
        for _ in range(400):
            x, y, r = rng.uniform(0, width), rng.uniform(0, horizon), rng.uniform(0.3, 1) * step
            leaf = tuple((np.array([60, 110, 50]) * rng.uniform(0.5, 1.4)).astype(int).tolist())
            pen.ellipse((x - r, y - r, x + r, y + r), fill=leaf)
        return
    for row, y in enumerate(range(0, horizon, step)):
        for x in range(-step * (row % 2) * (kind == "bricks"), width, 2 * step):
            if kind == "windows":
                pen.rectangle((x, y + step // 4, x + step, y + step), fill=dark, outline=(200, 200, 205), width=2)
            else:
                pen.rectangle((x, y, x + 2 * step, y + step), outline=dark, width=max(1, step // 12))
    if kind == "bricks":
        x = int(rng.uniform(0.2, 0.7) * width)
        pen.rectangle((x, horizon // 3, x + horizon // 2, horizon), fill=dark)  # a door
