"""Where the synthetic vehicles drive: a road, and other vehicles, poles, bins and bushes in the way."""

from dataclasses import dataclass
from math import pi

import numpy as np
from PIL import Image, ImageDraw

from nas.data.synthetic.camera import Camera, Colour, litter_bin, pole
from nas.data.synthetic.vehicle_body import body
from nas.data.synthetic.vehicle_figure import Appearance, drawn_appearance

OCCLUDERS = ("pole", "bin", "vehicle", "bush")
PITCHES = (0.28, 0.16, 0.38, 0.22, 0.32, 0.12)  # radians, of the cameras in turn: how steeply they look down


@dataclass(frozen=True, kw_only=True)
class VehicleCamera(Camera):
    """A camera beside or above a road. At yaw 0 vehicles come towards it."""

    yaws = (0.12 * pi, 0.52 * pi, -0.88 * pi, -0.3 * pi, 0.75 * pi, -0.5 * pi)  # front, right side, rear, half left...
    horizons = (0.12, 0.34)
    clutter = (0.2, 0.42)
    appearance = staticmethod(drawn_appearance)

    @staticmethod
    def ground(
        pen: ImageDraw.ImageDraw, canvas: Image.Image, horizon: int, colour: Colour, rng: np.random.Generator
    ) -> None:
        """A pavement, a kerb, and a road with marks."""
        grey, slope = int(rng.integers(70, 135)), rng.uniform(-0.15, 0.15)
        depth, middle = canvas.height - horizon, canvas.width / 2

        def band(top: float, bottom: float, fill: Colour) -> None:
            edges = [
                (x, horizon + share * depth + slope * (x - middle))
                for share, ends in ((top, (0, canvas.width)), (bottom, (canvas.width, 0)))
                for x in ends
            ]
            pen.polygon(edges, fill=fill)  # fmt: skip

        kerb = rng.uniform(0.12, 0.3)
        band(kerb, 2, (grey, grey, grey + 3))
        band(kerb, kerb + 0.03, (grey + 50, grey + 50, grey + 46))
        if rng.random() < 0.7:
            band(kerb + 0.1, kerb + 0.125, (205, 203, 196))
        for x in np.arange(rng.uniform(-0.2, 0), 1, 0.25) * canvas.width:
            y = horizon + 0.86 * depth + slope * (x - middle)
            pen.polygon([(x, y), (x + 0.12 * canvas.width, y + 0.12 * slope * canvas.width),
                         (x + 0.14 * canvas.width, y + 0.12 * slope * canvas.width + 0.04 * depth),
                         (x + 0.01 * canvas.width, y + 0.04 * depth)], fill=(205, 203, 196))  # fmt: skip

    def subject(self, canvas: Image.Image, who: Appearance, rng: np.random.Generator) -> None:
        width, height = canvas.size
        x = (0.5 + rng.normal(0, 0.02)) * width + self.shift * height
        y = (0.52 + rng.uniform(-0.05, 0.05)) * height
        size = self.scale * rng.uniform(0.9, 1.05)
        self._paint(canvas, who, rng, (x, y), (size * width, size * height), self.yaw + rng.normal(0, 0.16))

    def passer_by(self, canvas: Image.Image, rng: np.random.Generator, behind: bool) -> None:
        width, height = canvas.size
        side, share = rng.choice([-1, 1]), rng.uniform(0.35, 0.5) if behind else rng.uniform(0.6, 0.8)
        x, y = (0.5 + side * rng.uniform(0.4, 0.55)) * width, (0.33 if behind else 1.1) * height
        who, yaw = drawn_appearance(rng), rng.uniform(-pi, pi)
        self._paint(canvas, who, rng, (x, y), (share * width, share * height), yaw)

    def _paint(
        self, canvas: Image.Image, who: Appearance, rng: np.random.Generator, middle: tuple[float, float],
        size: tuple[float, float], yaw: float,
    ) -> None:  # fmt: skip
        (x, y), (width, height) = middle, size
        pitch = PITCHES[self.number % len(PITCHES)] + rng.normal(0, 0.04)
        distance = rng.uniform(2.2, 3.5) * max(5.0, who.shape.length)
        frame = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        body(who).paint(canvas, frame, yaw=yaw, pitch=max(0.06, pitch), distance=distance)

    def occluder(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        kind, unit, pen = OCCLUDERS[rng.integers(4)], canvas.height, ImageDraw.Draw(canvas)
        x, colour = rng.uniform(0.05, 0.95) * canvas.width, tuple(rng.integers(40, 150, 3).tolist())
        if kind == "pole":
            pole(pen, x, unit, colour, rng)
        elif kind == "bin":
            litter_bin(pen, x, unit, colour, rng)
        elif kind == "vehicle":
            self.passer_by(canvas, rng, behind=False)
        else:
            for dx, y, radius in rng.uniform((-0.2, 0.9, 0.06), (0.2, 1.05, 0.12), (12, 3)) * unit:
                pen.ellipse((x + dx - radius, y - radius, x + dx + radius, y + radius), fill=(48, 84, 46))
