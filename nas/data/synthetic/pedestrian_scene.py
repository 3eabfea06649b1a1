"""Where the synthetic pedestrians walk: paved ground, and people, poles, bins and bikes in the way."""

from dataclasses import dataclass
from math import pi

import numpy as np
from PIL import Image, ImageDraw

from nas.data.synthetic.camera import Camera, Colour, litter_bin, pole
from nas.data.synthetic.pedestrian_figure import Appearance, Figure, drawn_appearance

OCCLUDERS = ("pole", "bike", "person", "bin")


@dataclass(frozen=True, kw_only=True)
class PedestrianCamera(Camera):
    """A camera beside a footpath. At yaw 0 people come towards it."""

    yaws = (0.0, 0.5 * pi, pi, -0.35 * pi, 0.8 * pi, 0.25 * pi)  # front, right side, back, half left, ...
    horizons = (0.45, 0.7)
    clutter = (0.6, 0.85)
    appearance = staticmethod(drawn_appearance)

    @staticmethod
    def ground(
        pen: ImageDraw.ImageDraw, canvas: Image.Image, horizon: int, colour: Colour, rng: np.random.Generator
    ) -> None:
        line = tuple(int(value * rng.choice([0.75, 1.25])) for value in colour)
        for y in horizon + (canvas.height - horizon) * np.linspace(0, 1, 6) ** 1.6:
            pen.line((0, y, canvas.width, y), fill=line, width=2)
        if rng.random() < 0.6:
            middle = canvas.width / 2
            for x in np.linspace(-2, 3, 16) * canvas.width:
                pen.line((middle + (x - middle) * 0.5, horizon, x, canvas.height), fill=line, width=2)

    def subject(self, canvas: Image.Image, who: Appearance, rng: np.random.Generator) -> None:
        height = canvas.height
        x = canvas.width / 2 + (self.shift + rng.normal(0, 0.03)) * height
        size = self.scale * height * rng.uniform(0.84, 1.08)
        y = (0.5 + 0.47 * self.scale + rng.uniform(-0.05, 0.04)) * height
        pen = ImageDraw.Draw(canvas)
        pen.ellipse((x - 0.14 * size, y - 0.015 * size, x + 0.2 * size, y + 0.022 * size), fill=(52, 52, 54))
        yaw, phase = self.yaw + rng.normal(0, 0.3), rng.uniform(0, 2 * pi)
        Figure(who, yaw=yaw, phase=phase, x=x, y=y, size=size).paint(canvas)

    def passer_by(self, canvas: Image.Image, rng: np.random.Generator, behind: bool) -> None:
        side = rng.choice([-1, 1])
        x = canvas.width / 2 + side * rng.uniform(0.17, 0.27) * canvas.height
        size = canvas.height * (rng.uniform(0.55, 0.75) if behind else rng.uniform(0.9, 1.05))
        y = canvas.height * (0.87 if behind else 1.03)
        who, yaw, phase = drawn_appearance(rng), rng.uniform(-pi, pi), rng.uniform(0, 2 * pi)
        Figure(who, yaw=yaw, phase=phase, x=x, y=y, size=size).paint(canvas)

    def occluder(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        kind, unit, pen = OCCLUDERS[rng.integers(4)], canvas.height, ImageDraw.Draw(canvas)
        x, colour = rng.uniform(0.1, 0.9) * canvas.width, tuple(rng.integers(40, 150, 3).tolist())
        if kind == "pole":
            pole(pen, x, unit, colour, rng)
        elif kind == "bin":
            litter_bin(pen, x, unit, colour, rng)
        elif kind == "person":
            self.passer_by(canvas, rng, behind=False)
        else:
            _bike(pen, x, unit, colour)


def _bike(pen: ImageDraw.ImageDraw, x: float, unit: float, colour: Colour) -> None:
    r, y, far = 0.11 * unit, 0.88 * unit, x + 0.28 * unit
    line = max(2, int(0.012 * unit))
    for wheel in (x, far):
        pen.ellipse((wheel - r, y - r, wheel + r, y + r), outline=(35, 35, 38), width=line)
    seat, bar, pedal = (x + 0.07 * unit, y - 0.19 * unit), (far - 0.05 * unit, y - 0.2 * unit), (x + 0.12 * unit, y)
    pen.line([(x, y), seat, pedal, bar, (far, y)], fill=colour, width=line)
    pen.line([seat, bar], fill=colour, width=line)
