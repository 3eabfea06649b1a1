"""A pedestrian drawn from a few numbers: a jointed figure in body coordinates, turned, sorted by depth and painted.

Body coordinates are in units of the body's height: x to the person's left, y down from the top of the head (0) to the
soles (1), z forward. At yaw 0 the person faces the viewer; at 90 degrees the person faces the right edge of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float, float]

CLOTHES: tuple[Colour, ...] = (
    (42, 42, 48), (205, 203, 198), (44, 58, 110), (150, 46, 44), (84, 104, 58), (176, 148, 104), (110, 112, 118),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((28, 24, 24), (72, 46, 30), (150, 112, 62), (120, 118, 116))
SKIN: tuple[Colour, ...] = ((232, 194, 168), (198, 150, 118), (140, 98, 70), (96, 66, 50))
PATTERNS = ("plain", "hoops", "pinstripes", "checks", "yoke", "open", "logo", "print")
LOWERS = ("trousers", "trousers", "shorts", "skirt", "long skirt", "striped trousers")
HAIRSTYLES = ("short", "short", "long", "ponytail", "bald", "bun")
BAGS = (None, None, "handbag", "messenger", "suitcase", "shopping")
HATS = (None, None, None, "cap", "beanie", "brim")


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What makes an identity. Colours come from a palette so small that many share them: where they are tells."""

    top: Colour
    second: Colour
    pattern: str
    pitch: float  # of stripes and checks, in body heights
    sleeves: str
    coat: bool
    lower: str
    lower_colour: Colour
    shoes: Colour
    skin: Colour
    hair: Colour
    hairstyle: str
    hat: str | None
    hat_colour: Colour
    backpack: Colour | None
    bag: str | None
    bag_colour: Colour
    bag_side: int
    height: float  # relative to the average person
    girth: float  # likewise
    stride: float  # largest angle of the legs, radians


def drawn_appearance(rng: np.random.Generator) -> Appearance:
    """An identity by chance."""
    lower = LOWERS[rng.integers(len(LOWERS))]
    top, second = (CLOTHES[i] for i in rng.choice(len(CLOTHES), 2, replace=False))

    def one(options: tuple[Any, ...]) -> Any:
        return options[rng.integers(len(options))]

    return Appearance(
        top=top, second=second, pattern=one(PATTERNS), pitch=rng.uniform(0.028, 0.055),
        sleeves=one(("long", "long", "short")), coat=bool(rng.random() < 0.25), lower=lower,
        lower_colour=one(CLOTHES), shoes=one(CLOTHES), skin=one(SKIN), hair=one(HAIR), hairstyle=one(HAIRSTYLES),
        hat=one(HATS), hat_colour=one(CLOTHES), backpack=one(CLOTHES) if rng.random() < 0.4 else None,
        bag=one(BAGS), bag_colour=one(CLOTHES), bag_side=one((-1, 1)), height=rng.uniform(0.9, 1.05),
        girth=rng.uniform(0.8, 1.3), stride=rng.uniform(0.25, 0.5) * (0.5 if lower == "long skirt" else 1),
    )  # fmt: skip


def shaded(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return min(255, int(r * factor)), min(255, int(g * factor)), min(255, int(b * factor))


class Figure:
    """One person in one picture: parts are added in any order, then painted from the farthest to the nearest.

    yaw in radians; phase of the walk in radians; x, y: where the soles stand, in pixels; size: pixels per body height.
    """

    def __init__(self, who: Appearance, *, yaw: float, phase: float, x: float, y: float, size: float) -> None:
        self.who, self.phase, self.x, self.y = who, phase, x, y
        self.size = size * who.height
        self.cos, self.sin = cos(yaw), sin(yaw)
        self.yaw = yaw
        self.y += self.size * (0.95 - max(self._joints(side)[2][1] for side in (-1, 1)))  # the lower foot is down
        self._parts: list[tuple[float, Callable[[Image.Image, ImageDraw.ImageDraw], None]]] = []

    def paint(self, image: Image.Image) -> None:
        """Draws the whole person onto `image`."""
        for side in (-1, 1):
            self._leg(side)
            self._arm(side)
        self._lower()
        self._torso()
        self._head()
        self._carried()
        pen = ImageDraw.Draw(image)
        for _, draw in sorted(self._parts, key=lambda part: part[0]):
            draw(image, pen)

    def _at(self, point: Point) -> tuple[float, float]:
        x, y, z = point
        return self.x + self.size * (x * self.cos + z * self.sin), self.y + self.size * (y - 1)

    def _depth(self, point: Point) -> float:
        return point[2] * self.cos - point[0] * self.sin

    def _across(self, width: float, thickness: float) -> float:
        """Half the apparent width of an elliptic body section with these half axes."""
        return hypot(width * self.cos, thickness * self.sin)

    def _limb(self, a: Point, b: Point, ra: float, rb: float, colour: Colour, nearer: float = 0.0) -> None:
        """A tapered, rounded limb from `a` to `b`, lit from the upper left; `nearer` moves it towards the viewer."""
        depth = (self._depth(a) + self._depth(b)) / 2 + nearer
        colour = shaded(colour, 1.0 + min(0.0, depth) * 2.5)
        (ax, ay), (bx, by) = self._at(a), self._at(b)
        ra, rb = ra * self.size, rb * self.size

        def draw(_: Image.Image, pen: ImageDraw.ImageDraw) -> None:
            for fill, shrink in ((shaded(colour, 0.84), 1.0), (colour, 0.66)):
                p, q = ra * shrink, rb * shrink
                shift_a, shift_b = (p - ra) * 0.6, (q - rb) * 0.6
                _capsule(pen, (ax + shift_a, ay), (bx + shift_b, by), p, q, fill)

        self._parts.append((depth, draw))

    def _joints(self, side: int) -> tuple[Point, Point, Point]:
        """Hip, knee and ankle in this phase of the walk."""
        phase, stride = self.phase + (side > 0) * pi, self.who.stride
        swing = stride * sin(phase)
        shin = swing - 0.05 - 0.55 * stride * (1 + cos(phase))
        hip = (0.05 * side * self.who.girth, 0.5, 0.0)
        knee = (hip[0], hip[1] + 0.23 * cos(swing), 0.23 * sin(swing))
        return hip, knee, (hip[0], knee[1] + 0.22 * cos(shin), knee[2] + 0.22 * sin(shin))

    def _leg(self, side: int) -> None:
        who, girth = self.who, self.who.girth
        hip, knee, ankle = self._joints(side)
        trousers = "trousers" in who.lower
        thigh = who.lower_colour if trousers or who.lower == "shorts" else who.skin
        shin = who.lower_colour if trousers else who.skin
        wide = 0.046 if trousers else 0.036
        self._limb(knee, ankle, wide * girth**0.5, (0.034 if trousers else 0.022) * girth**0.5, shin)
        self._limb(hip, knee, 0.058 * girth, (0.055 if who.lower == "shorts" else wide) * girth**0.5, thigh, 0.004)
        if who.lower == "striped trousers":
            outer = [(x + side * 0.04 * girth, y, z) for x, y, z in (hip, knee, ankle)]
            self._limb(outer[0], outer[1], 0.011, 0.011, who.second, 0.015)
            self._limb(outer[1], outer[2], 0.011, 0.011, who.second, 0.015)
        toe = (ankle[0] + 0.01 * side, ankle[1] + 0.028, ankle[2] + 0.075)
        self._limb((ankle[0], ankle[1] + 0.02, ankle[2] - 0.01), toe, 0.026, 0.02, who.shoes, 0.005)

    def _arm(self, side: int) -> None:
        who, girth = self.who, self.who.girth
        holds = who.bag in ("suitcase", "shopping", "handbag") and side == who.bag_side
        swing = 0.06 if holds else 0.8 * who.stride * sin(self.phase + (side < 0) * pi)
        shoulder = (0.118 * side * girth**0.6, 0.2, 0.0)
        elbow = (shoulder[0] + 0.025 * side, shoulder[1] + 0.155 * cos(swing), 0.155 * sin(swing))
        lower = swing + (0.05 if holds else 0.35)
        hand = (elbow[0] + 0.004 * side, elbow[1] + 0.15 * cos(lower), elbow[2] + 0.15 * sin(lower))
        sleeve = who.second if who.pattern == "yoke" else who.top
        self._limb(elbow, hand, 0.027, 0.021, sleeve if who.sleeves == "long" else who.skin, 0.01 * side * -self.sin)
        self._limb(hand, (hand[0], hand[1] + 0.02, hand[2]), 0.021, 0.018, who.skin)
        self._limb(shoulder, elbow, 0.038 * girth**0.5, 0.03, sleeve, 0.001)
        if holds:
            self._held(side, hand)

    def _lower(self) -> None:
        who = self.who
        if "skirt" not in who.lower:
            self._limb((0, 0.47, 0), (0, 0.52, 0), 0.08 * who.girth, 0.08 * who.girth, who.lower_colour, -0.02)
            return
        hem = 0.68 if who.lower == "skirt" else 0.88
        flare = 0.13 if who.lower == "skirt" else 0.12
        outline = [(0.45, 0.085 * who.girth, 0.07), (hem, flare * who.girth, 0.12)]
        self._cloth(outline, who.lower_colour, "plain", 0.07)

    def _torso(self) -> None:
        who, g = self.who, self.who.girth
        end = 0.72 if who.coat else 0.5
        outline = [
            (0.155, 0.04, 0.035), (0.178, 0.1 * g**0.6, 0.05 * g), (0.24, 0.122 * g**0.8, 0.07 * g),
            (0.4, 0.098 * g, 0.068 * g), (0.5, 0.108 * g, 0.075 * g), (end, 0.115 * g, 0.085 * g),
        ]  # fmt: skip
        self._cloth(outline, who.top, who.pattern, 0.1 if who.coat else 0.09)

    def _cloth(self, outline: list[tuple[float, float, float]], colour: Colour, pattern: str, depth: float) -> None:
        """A piece of clothing with the sections (y, half width, half thickness), patterned and shaded as a cylinder."""
        rows = [(self.y + self.size * (y - 1), self.size * self._across(w, t)) for y, w, t in outline]

        def draw(image: Image.Image, _: ImageDraw.ImageDraw) -> None:
            half, top, bottom = int(max(r for _, r in rows)) + 2, int(rows[0][0]), int(rows[-1][0]) + 2
            box = (2 * half, bottom - top)
            mask = Image.new("L", box)
            sides = [(half + s * r, y - top) for s in (-1, 1) for y, r in rows[::s]]
            ImageDraw.Draw(mask).polygon(sides, fill=255)
            cloth = Image.new("RGB", box, colour)
            self._pattern(ImageDraw.Draw(cloth), pattern, *box)
            light = Image.linear_gradient("L").rotate(90).resize(box).point(_CYLINDER)
            cloth = Image.composite(cloth, Image.new("RGB", box, shaded(colour, 0.45)), light)
            image.paste(cloth, (int(self.x) - half, top), mask)

        self._parts.append((depth, draw))

    def _pattern(self, pen: ImageDraw.ImageDraw, pattern: str, width: int, height: int) -> None:
        second, pitch, size = self.who.second, max(3.0, self.who.pitch * self.size), self.size
        turn = self.yaw / pi * width  # a pattern on a cylinder moves across as the cylinder turns
        if pattern in ("hoops", "checks"):
            for y in np.arange(0, height, 2 * pitch):
                pen.rectangle((0, y, width, y + pitch), fill=second)
        if pattern in ("pinstripes", "checks"):
            wide = pitch * (0.6 if pattern == "checks" else 0.9)
            for x in np.arange(turn % (2 * pitch) - 2 * pitch, width, 2 * pitch):
                fill = second if pattern == "pinstripes" else shaded(second, 0.7)
                pen.rectangle((x, 0, x + wide, height), fill=fill)
        if pattern == "yoke":
            pen.rectangle((0, 0, width, 0.12 * size), fill=second)
        front, middle = self.cos > 0.25, width / 2 + 0.1 * self.sin * size
        if pattern == "open" and self.cos > -0.2:
            pen.polygon([(middle - 0.045 * size, 0), (middle + 0.045 * size, 0), (middle + 0.02 * size, height),
                         (middle - 0.02 * size, height)], fill=second)  # fmt: skip
        if pattern == "logo" and front:
            r, y = 0.045 * size, 0.12 * size
            pen.ellipse((middle - r, y - r, middle + r, y + r), fill=second)
        if pattern == "print" and self.cos < 0.25:
            back = width - middle
            pen.rectangle((back - 0.06 * size, 0.07 * size, back + 0.06 * size, 0.18 * size), fill=second)

    def _head(self) -> None:
        who = self.who
        self._limb((0, 0.11, 0), (0, 0.17, 0), 0.03, 0.036, who.skin, 0.0)
        self._limb((0, 0.058, 0.008), (0, 0.092, 0.012), 0.05, 0.042, who.skin, 0.05)
        for side in (-1, 1):
            self._limb((0.02 * side, 0.068, 0.06), (0.02 * side, 0.07, 0.06), 0.007, 0.007, (50, 40, 40), 0.01)
        if who.hairstyle != "bald":
            self._limb((0, 0.045, -0.012), (0, 0.06, -0.022), 0.054, 0.05, who.hair, 0.05)
            self._limb((0, 0.026, 0.012), (0, 0.03, 0.0), 0.036, 0.04, who.hair, 0.055)
        if who.hairstyle == "long":
            self._limb((0, 0.06, -0.03), (0, 0.2, -0.06), 0.054, 0.062, who.hair, 0.06)
        if who.hairstyle == "ponytail":
            self._limb((0, 0.05, -0.07), (0, 0.2, -0.085), 0.022, 0.012, who.hair, 0.03)
        if who.hairstyle == "bun":
            self._limb((0, 0.01, -0.04), (0, 0.005, -0.05), 0.03, 0.03, who.hair, 0.01)
        if who.hat:
            self._hat(who.hat)

    def _hat(self, hat: str) -> None:
        colour = self.who.hat_colour
        self._limb((0, 0.03, 0), (0, 0.02, 0), 0.056, 0.05 if hat == "beanie" else 0.045, colour, 0.09)
        if hat == "cap":
            self._limb((0, 0.042, 0.04), (0, 0.045, 0.085), 0.02, 0.016, colour, 0.06)
        if hat == "brim":
            self._limb((-0.075, 0.044, 0), (0.075, 0.044, 0), 0.014, 0.014, colour, 0.095)
            self._limb((0, 0.044, -0.075), (0, 0.044, 0.075), 0.014, 0.014, colour, 0.094)

    def _box(self, centre: Point, half: Point, colour: Colour) -> None:
        """A box with the half sizes `half`; its apparent width follows the turn."""
        (x, y), depth = self._at(centre), self._depth(centre)
        across = self.size * (half[0] * abs(self.cos) + half[2] * abs(self.sin))
        down, round_ = half[1] * self.size, 0.018 * self.size

        def draw(_: Image.Image, pen: ImageDraw.ImageDraw) -> None:
            edges = (x - across, y - down, x + across, y + down)
            pen.rounded_rectangle(edges, round_, fill=shaded(colour, 0.95), outline=shaded(colour, 0.55), width=2)
            pen.line((x - across * 0.6, y, x + across * 0.6, y), fill=shaded(colour, 0.65), width=2)

        self._parts.append((depth, draw))

    def _carried(self) -> None:
        who = self.who
        if who.backpack:
            self._box((0, 0.31, -0.12), (0.088, 0.115, 0.05), who.backpack)
            for side in (-1, 1):
                self._limb((0.07 * side, 0.175, 0.04), (0.085 * side, 0.34, 0.07), 0.014, 0.012, who.backpack, 0.05)
        if who.bag == "messenger":
            side = who.bag_side
            for z in (-0.075, 0.075):
                self._limb((-0.06 * side, 0.175, z * 0.6), (0.12 * side, 0.48, z), 0.012, 0.012, who.bag_colour, 0.06)
            self._box((0.15 * side, 0.53, -0.01), (0.035, 0.065, 0.09), who.bag_colour)

    def _held(self, side: int, hand: Point) -> None:
        who, (x, y, z) = self.who, hand
        if who.bag == "suitcase":
            self._limb(hand, (x + 0.03 * side, y + 0.22, z - 0.1), 0.009, 0.009, (60, 60, 64))
            self._box((x + 0.04 * side, 0.83, z - 0.12), (0.065, 0.15, 0.1), who.bag_colour)
            return
        drop, half = (0.13, (0.04, 0.075, 0.085)) if who.bag == "shopping" else (0.09, (0.03, 0.05, 0.075))
        self._limb(hand, (x, y + drop - half[1], z), 0.012, 0.02, shaded(who.bag_colour, 0.6))
        self._box((x + 0.01 * side, y + drop, z), half, who.bag_colour)


def _capsule(
    pen: ImageDraw.ImageDraw, a: tuple[float, float], b: tuple[float, float], ra: float, rb: float, fill: Colour
) -> None:
    (ax, ay), (bx, by) = a, b
    length = hypot(bx - ax, by - ay) or 1.0
    nx, ny = (ay - by) / length, (bx - ax) / length
    pen.ellipse((ax - ra, ay - ra, ax + ra, ay + ra), fill=fill)
    pen.ellipse((bx - rb, by - rb, bx + rb, by + rb), fill=fill)
    pen.polygon([(ax + nx * ra, ay + ny * ra), (bx + nx * rb, by + ny * rb), (bx - nx * rb, by - ny * rb),
                 (ax - nx * ra, ay - ny * ra)], fill=fill)  # fmt: skip


_CYLINDER = [int(255 * min(1.0, 0.35 + 0.85 * sin(pi * min(1.0, max(0.0, i / 255 * 0.85 + 0.1))))) for i in range(256)]
