"""A vehicle's appearance as a solid: hull, cabin and cargo, and on them wheels, windows, lamps and marks."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import pairwise
from math import cos, pi, sin

from nas.data.synthetic.solid import Colour, Faces, Point, Solid, disc, mirror, patch
from nas.data.synthetic.vehicle_figure import Appearance

BLACK, RUBBER, SHADOW, SEAM = (24, 24, 26), (36, 36, 38), (48, 48, 50), (40, 40, 44)
LAMP, TAIL_LAMP, INDICATOR, CHROME = (226, 228, 220), (168, 28, 28), (214, 132, 44), (188, 190, 194)
FRONT, REAR, UP = (0, 0, 1), (0, 0, -1), (0, 1, 0)
SIGNS: dict[str | None, tuple[tuple[tuple[float, float], ...], ...]] = {
    "disc": (tuple((0.5 * cos(pi * k / 5), 0.5 + 0.5 * sin(pi * k / 5)) for k in range(10)),),
    "bars": tuple(((-1, y), (1, y), (1, y + 0.2), (-1, y + 0.2)) for y in (0.1, 0.4, 0.7)),
    "chevron": (((-0.5, 0), (0.1, 0), (0.6, 0.5), (0.1, 1), (-0.5, 1), (0, 0.5)),),
    "block": (((-0.9, 0.1), (0.9, 0.1), (0.9, 0.9), (-0.9, 0.9)),),
    "diamond": (((-0.6, 0.5), (0, 0), (0.6, 0.5), (0, 1)),),
}
"""Marks as polygons (along the side, up), for each in units of its height."""
GRILLES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "none": (),
    "wide": ((-0.55, 0.55, 0.5, 0.85),),
    "small": ((-0.3, 0.3, 0.6, 0.8),),
    "bars": tuple((-0.5, 0.5, y, y + 0.06) for y in (0.48, 0.6, 0.72, 0.84)),
    "badge": ((-0.55, 0.55, 0.55, 0.62), (-0.1, 0.1, 0.46, 0.74)),
    "tall": ((-0.32, 0.32, 0.12, 0.9),),
}
"""Rectangles x0, x1, y0, y1, in half widths and heights of the front."""
LAMPS: dict[str, tuple[tuple[float, float, float, float, Colour | None], ...]] = {
    "round": ((0.66, 0.96, 0.52, 0.9, None), (0.74, 0.88, 0.6, 0.8, CHROME)),
    "slit": ((0.45, 1, 0.72, 0.88, None),),
    "block": ((0.6, 1, 0.5, 0.9, None), (0.86, 1, 0.5, 0.9, INDICATOR)),
    "tall": ((0.8, 1, 0.34, 0.98, None), (0.8, 1, 0.34, 0.48, INDICATOR)),
    "twin": ((0.5, 0.7, 0.58, 0.86, None), (0.78, 0.98, 0.58, 0.86, None)),
    "bar": ((0, 1, 0.74, 0.9, None),),
}
"""Likewise, of the left lamp; with a colour where it is not that of the lamp."""
STRIPES: dict[str | None, tuple[tuple[float, float], ...]] = {
    None: (), "low": ((0.22, 0.34),), "belt": ((0.78, 0.92),), "double": ((0.5, 0.58), (0.66, 0.74)),
    "sill": ((0.0, 0.2),),
}  # fmt: skip
"""From where to where up, in heights of the front."""
GAP = 0.004  # of a decal from its face


@lru_cache(maxsize=128)
def body(who: Appearance) -> Faces:
    """The solid of `who`, in metres, its middle above the origin."""
    return Faces(Body(who).solid)


class Body:
    """Builds the solid part by part; decals follow the part they lie on. `forward` is 1 at the front and -1 at the
    rear, `side` 1 on the left and -1 on the right, `half` a half width."""

    def __init__(self, who: Appearance) -> None:
        self.who, self.shape, self.solid = who, who.shape, Solid()
        shape = self.shape
        self.half, self.nose, self.deck = shape.width / 2, shape.nose * shape.belt, shape.deck * shape.belt
        self.front, self.rear = shape.length / 2, -shape.length / 2
        places = (shape.windscreen, shape.roof_front, shape.roof_rear, shape.back)
        self.screen, self.roof_front, self.roof_rear, self.back = (self.front - x * shape.length for x in places)
        self.cowl = max(self.front - 0.5, (self.screen + self.front) / 2)  # where the bonnet begins to bend down
        self.hull_rear = self.back - 0.05 if who.kind == "truck" else self.rear
        self.waist = (shape.clearance + shape.belt) / 2
        self.belt_half, self.roof_half = 0.93 * self.half, shape.narrowing * self.half
        self._underneath()
        self._hull()
        self._front_end()
        self._rear_end()
        for side in (-1, 1):
            self._flank(side)
        self._top_of_hull()
        self._cabin()
        if who.kind == "truck":
            self._cargo()
        self._on_roof()
        self._attached()

    def _half_at(self, y: float) -> float:
        """Half the hull's width at height y."""
        if y < self.waist:
            return self.half * (0.93 + 0.07 * (y - self.shape.clearance) / (self.waist - self.shape.clearance))
        return self.half * (1 - 0.05 * (y - self.waist) / (self.shape.belt - self.waist))

    def _ring(self, z: float, top: float, half: float) -> list[Point]:
        """The hull's left outline at z: sill, waist and shoulder."""
        waist = (self.shape.clearance + top) / 2
        return [(0.93 * half, self.shape.clearance, z), (half, waist, z), (0.95 * half, top, z)]

    def _on_side(self, side: int, corners: Iterable[tuple[float, float]], colour: Colour) -> None:
        """A decal on a flank, with corners (z, y)."""
        points = [(side * (self._half_at(y) + GAP), y, z) for z, y in corners]
        self.solid.decal(points, colour, (side, 0, 0))

    def _on_end(self, forward: int, x0: float, x1: float, y0: float, y1: float, colour: Colour) -> None:
        """A rectangle on the front (1) or the rear (-1): x in half widths of that face, y in its heights."""
        half, low = 0.93 * self.shape.taper * self.half, self.shape.clearance
        z, high = (self.front + GAP, self.nose - 0.08) if forward > 0 else (self.hull_rear - GAP, self.deck - 0.03)
        x0, x1, y0, y1 = x0 * half, x1 * half, low + y0 * (high - low), low + y1 * (high - low)
        self.solid.decal([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, (0, 0, forward))

    def _at_corner(self, forward: int, y0: float, y1: float, colour: Colour, reach: float = 0.6) -> None:
        """A band around both corners of an end, so that it shows from the side too; y in heights of the end."""
        end, next_to = (self.rings[-1], self.rings[-2]) if forward > 0 else (self.rings[0], self.rings[1])
        for level in (0, 1):  # of the ring: below and above the waist
            v0, v1 = (min(1.0, max(0.0, 2 * y - level)) for y in (y0, y1))
            if v0 < v1:
                quad = (end[level], next_to[level], next_to[level + 1], end[level + 1])
                points = patch(quad, 0.0, reach, v0, v1)
                self.solid.decal(points, colour, (1, 0, 0))
                self.solid.decal(map(mirror, points), colour, (-1, 0, 0))

    def _underneath(self) -> None:
        """The shadow, what keeps the light out under the hull, and the wheels' lower halves."""
        shape, half = self.shape, self.half
        ground = [(x * half * 1.08, 0.0, z) for x, z in
                  ((-1, self.rear), (-0.8, self.rear - 0.15), (0.8, self.rear - 0.15), (1, self.rear),
                   (1, self.front), (0.8, self.front + 0.15), (-0.8, self.front + 0.15), (-1, self.front))]  # fmt: skip
        self.solid.box((-0.75 * half, 0.15, self.rear + 0.2), (0.75 * half, shape.clearance, self.front - 0.2), BLACK)
        self.solid.decal(ground, SHADOW, UP)
        for z in self._axles():
            for x in (-half + 0.02, half - 0.24):
                low, high = (x, 0.0, z - 0.8 * shape.wheel), (x + 0.22, 0.15, z + 0.8 * shape.wheel)
                self.solid.box(low, high, RUBBER)

    def _axles(self) -> tuple[float, float]:
        """Where the wheels are."""
        long = self.who.kind in ("bus", "truck")
        return self.rear + (0.23 if long else 0.185) * self.shape.length, self.front - 0.19 * min(self.shape.length, 6)

    def _hull(self) -> None:
        shape, half = self.shape, self.half
        tail, end = self.hull_rear, shape.taper * half
        self.rings = [
            self._ring(tail, self.deck - 0.03, end), self._ring(tail + 0.15, self.deck, half),
            self._ring(max(self.back, tail + 0.16), shape.belt, half), self._ring(self.screen, shape.belt, half),
            self._ring(self.cowl, self.nose, half), self._ring(self.front, self.nose - 0.08, end),
        ]  # fmt: skip
        self.solid.loft(self.rings, self.who.paint)

    def _front_end(self) -> None:
        who = self.who
        self._on_end(1, -1, 1, 0, 0.36, who.bumper)
        self._at_corner(1, 0, 0.36, who.bumper, 1)
        for x0, x1, y0, y1 in GRILLES[who.grille]:
            self._on_end(1, x0, x1, y0, y1, BLACK)
        self._on_end(1, -0.6, 0.6, 0.04, 0.12, BLACK)
        self._lamps(1, who.lamps, LAMP)
        self._on_end(1, who.plate - 0.28, who.plate + 0.28, 0.14, 0.32, who.plate_colour)
        if who.bull_bar:
            for x in (-0.7, -0.25, 0.25, 0.7):
                self._on_end(1, x - 0.05, x + 0.05, 0.05, 0.98, who.trim)
            self._on_end(1, -0.75, 0.75, 0.66, 0.76, who.trim)

    def _rear_end(self) -> None:
        who = self.who
        self._on_end(-1, -1, 1, 0, 0.32, who.bumper)
        self._at_corner(-1, 0, 0.32, who.bumper, 1)
        if who.kind == "truck":
            return
        self._lamps(-1, who.tail_lamps, TAIL_LAMP)
        y = 0.56 if who.high_plate else 0.07
        self._on_end(-1, -0.28, 0.28, y, y + 0.18, who.plate_colour)
        self._on_end(-1, -0.62, 0.62, 0.36, 0.39, SEAM)
        if who.kind in ("van", "bus"):
            self._on_end(-1, -0.02, 0.02, 0.3, 1, SEAM)

    def _lamps(self, forward: int, style: str, colour: Colour) -> None:
        """Lamps on both sides of an end, and around its corners."""
        for x0, x1, y0, y1, accent in LAMPS[style]:
            fill = accent or colour
            for side in (-1, 1):
                self._on_end(forward, side * x0, side * x1, y0, y1, fill)
            if x1 > 0.95:
                self._at_corner(forward, y0, y1, fill)

    def _flank(self, side: int) -> None:
        who, shape = self.who, self.shape
        low, high, rear = shape.clearance, shape.belt, self.hull_rear + 0.15
        self._doors(side)
        for bottom, top in STRIPES[who.stripe]:
            y0, y1 = (low + share * (self.nose - low) for share in (bottom, top))
            self._on_side(side, ((rear, y0), (self.cowl, y0), (self.cowl, y1), (rear, y1)), who.second)
        if who.kind not in ("van", "truck"):
            z = rear + (0.3 + 0.4 * who.sign_place) * (self.screen - rear)
            self._sign(side, partial(self._on_side, side), z, self.waist - 0.1, 0.5 * (high - low))
        for z in self._axles():
            if z > self.hull_rear:
                self._wheel(side, z)

    def _doors(self, side: int) -> None:
        who, shape = self.who, self.shape
        low, high = shape.clearance + 0.06, shape.belt
        num_edges = 3 if who.kind in ("sedan", "estate", "SUV") else 2
        edges = [z for z in (self.screen + 0.02 - 1.1 * i for i in range(num_edges)) if z > self.hull_rear + 0.3]
        for number, (front, rear) in enumerate(pairwise(edges)):
            if number == 0 and who.doors[side > 0] != who.paint:
                self._on_side(side, ((rear, low), (front, low), (front, high), (rear, high)), who.doors[side > 0])
            self._on_side(side, [(rear + dz, high - dy) for dz, dy in
                                 ((0.06, 0.16), (0.26, 0.16), (0.26, 0.1), (0.06, 0.1))], BLACK)  # fmt: skip
        for z in edges:
            self._on_side(side, ((z - 0.02, low), (z + 0.02, low), (z + 0.02, high), (z - 0.02, high)), SEAM)

    def _wheel(self, side: int, z: float) -> None:
        who, r, x = self.who, self.shape.wheel, side * (self.half + GAP)
        for radius, fill in ((1.22 * r, BLACK), (r, RUBBER), (0.64 * r, who.rim_colour)):
            self.solid.decal(disc(x, r, z, radius), fill, (side, 0, 0))
        if who.rims in ("ring", "hub"):
            self.solid.decal(disc(x, r, z, (0.4 if who.rims == "ring" else 0.2) * r, 8), BLACK, (side, 0, 0))
        num_holes = {"spokes": 5, "cross": 4}.get(who.rims, 0)
        for k in range(num_holes):
            turns = ((k + 0.5, 0.12), (k + 0.25, 0.58), (k + 0.75, 0.58))
            polar = [(2 * pi * turn / num_holes, share * r) for turn, share in turns]
            corners = [(x, r + far * sin(angle), z + far * cos(angle)) for angle, far in polar]
            self.solid.decal(corners, BLACK, (side, 0, 0))

    def _top_of_hull(self) -> None:
        who = self.who
        bonnet, bed = (self._across(self.rings[i], self.rings[i + 1]) for i in (3, 1))
        if who.bonnet != who.paint:
            self.solid.decal(bonnet, who.bonnet, UP)
        if who.bonnet_stripes:
            for v in (0.36, 0.54):
                self.solid.decal(patch(bonnet, 0, 1, v, v + 0.1), who.second, UP)
        if who.kind == "pickup":
            self.solid.decal(patch(bed, 0.03, 0.94, 0.08, 0.92), BLACK, UP)
            self.solid.decal(patch(bed, 0.12, 0.94, 0.14, 0.86), SHADOW, UP)

    @staticmethod
    def _across(tail: list[Point], nose: list[Point]) -> list[Point]:
        """The face on top between two rings: its first edge goes along the left side, from the tail to the nose."""
        return [tail[-1], nose[-1], mirror(nose[-1]), mirror(tail[-1])]

    def _cabin(self) -> None:
        who, belt, top = self.who, self.shape.belt, self.shape.height
        below = [(self.belt_half, belt, z) for z in (self.back, self.roof_rear, self.roof_front, self.screen)]
        roof = [(self.roof_half, top, z) for z in (self.roof_rear, self.roof_front)]
        rings = [[below[0]] * 2, [below[1], roof[0]], [below[2], roof[1]], [below[3]] * 2]
        self.solid.loft(rings, who.cabin)
        for side in (-1, 1):
            corners = [below[0], below[3], roof[1], roof[0]]
            self._side_windows(side, corners if side > 0 else [mirror(point) for point in corners])
        self._windscreen([mirror(below[3]), below[3], roof[1], mirror(roof[1])])
        self._rear_window([mirror(below[0]), below[0], roof[0], mirror(roof[0])])
        if who.sunroof:
            self.solid.decal(patch(self._across(rings[1], rings[2]), 0.55, 0.9, 0.2, 0.8), who.glass, UP)

    def _side_windows(self, side: int, quad: list[Point]) -> None:
        who = self.who
        width = 0.24 if who.kind == "van" else 0.94 / who.num_windows
        for number in range(who.num_windows):
            front = 0.97 - number * width
            glass = who.glass if number == 0 else who.rear_glass
            self.solid.decal(patch(quad, front - width + 0.03, front, 0.1, 0.86), glass, (side, 0, 0))
        if who.kind == "van" and who.num_windows < 3:
            (_, y, rear), (_, _, front), *_ = quad
            draw = partial(self._on_cabin, side)
            self._sign(side, draw, rear + 0.33 * (front - rear), y, 0.6 * (self.shape.height - y))

    def _on_cabin(self, side: int, corners: Iterable[tuple[float, float]], colour: Colour) -> None:
        """A decal on a side of the cabin, with corners (z, y)."""
        lean = (self.belt_half - self.roof_half) / (self.shape.height - self.shape.belt)
        half = self.belt_half + GAP
        points = [(side * (half - lean * (y - self.shape.belt)), y, z) for z, y in corners]
        self.solid.decal(points, colour, (side, 0, 0))

    def _windscreen(self, quad: list[Point]) -> None:
        who = self.who
        self.solid.decal(patch(quad, 0.06, 0.94, 0.06, 0.92), who.glass, FRONT)
        for u, colour in who.ornaments:
            self.solid.decal(patch(quad, u - 0.05, u + 0.05, 0.1, 0.26), colour, FRONT)
        if who.sun_strip:
            self.solid.decal(patch(quad, 0.06, 0.94, 0.76, 0.92), who.second, FRONT)

    def _rear_window(self, quad: list[Point]) -> None:
        who = self.who
        if who.kind == "van":
            for u in (0.09, 0.54):
                self.solid.decal(patch(quad, u, u + 0.37, 0.3, 0.86), who.rear_glass, REAR)
        else:
            self.solid.decal(patch(quad, 0.08, 0.92, 0.1, 0.88), who.rear_glass, REAR)
        if who.sticker:
            u, colour = who.sticker
            self.solid.decal(patch(quad, u - 0.07, u + 0.07, 0.36, 0.56), colour, REAR)

    def _cargo(self) -> None:
        """A truck's frame, its rear wheels, and its box."""
        who, half, floor, front = self.who, self.half, 0.98, self.back - 0.2
        self.solid.box((-0.7 * half, self.shape.clearance, self.rear), (0.7 * half, floor, front), BLACK)
        for side in (-1, 1):
            self._wheel(side, self._axles()[0])
        self.solid.box((-half, floor, self.rear), (half, who.cargo, front), who.cabin)
        z, height = self.rear - GAP, who.cargo - floor
        for x0, x1, y0, y1, colour in (
            (-0.02, 0.02, 0, 1, SEAM), (-1, 1, 0, 0.06, BLACK), (-0.98, -0.76, 0.02, 0.1, TAIL_LAMP),
            (0.76, 0.98, 0.02, 0.1, TAIL_LAMP), (who.plate - 0.2, who.plate + 0.2, 0, 0.06, who.plate_colour),
        ):  # fmt: skip
            corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
            self.solid.decal([(x * half, floor + y * height, z) for x, y in corners], colour, REAR)
        for side in (-1, 1):
            draw = partial(self._on_cargo, side)
            along = 0.3 + 0.4 * who.sign_place
            self._sign(side, draw, self.rear + along * (front - self.rear), floor + 0.2 * height, 0.6 * height)

    def _on_cargo(self, side: int, corners: Iterable[tuple[float, float]], colour: Colour) -> None:
        """A decal on a side of a truck's box, with corners (z, y)."""
        self.solid.decal([(side * (self.half + GAP), y, z) for z, y in corners], colour, (side, 0, 0))

    def _sign(self, side: int, draw: Callable[..., None], z: float, y: float, size: float) -> None:
        """The mark of a side, drawn by `draw(corners (z, y), colour)`, around z and from y up."""
        for polygon in SIGNS.get(self.who.signs[side > 0], ()):
            corners = [(z + size * u, y + size * v) for u, v in polygon]
            draw(corners, self.who.sign_colours[side > 0])

    def _on_roof(self) -> None:
        who, half, y = self.who, self.roof_half, self.shape.height
        rear, length = self.roof_rear, self.roof_front - self.roof_rear
        for x0, x1, z0, z1, thick, colour in {
            None: (),
            "rails": tuple((x, x + 0.08, 0.08, 0.92, 0.09, who.trim) for x in (-0.9, 0.82)),
            "bars": tuple((-0.95, 0.95, z, z + 0.06, 0.1, BLACK) for z in (0.25, 0.7)),
            "box": ((-0.5, 0.5, 0.15, 0.85, 0.34, who.roof_colour),),
            "taxi": ((-0.4, 0.4, 0.5, 0.62, 0.18, who.roof_colour),),
            "lights": ((-0.85, 0.85, 0.7, 0.82, 0.14, who.roof_colour),),
            "ladder": tuple((x, x + 0.07, 0.02, 0.98, 0.14, who.trim) for x in (-0.3, 0.25))
            + tuple((-0.22, 0.24, z, z + 0.02, 0.1, who.trim) for z in (0.1, 0.3, 0.5, 0.7, 0.9)),
            "vent": ((-0.6, 0.6, 0.3, 0.6, 0.22, who.cabin),),
        }[who.roof]:
            low, high = (x0 * half, y, rear + z0 * length), (x1 * half, y + thick, rear + z1 * length)
            self.solid.box(low, high, colour)

    def _attached(self) -> None:
        """Mirrors and a spare wheel."""
        who, shape = self.who, self.shape
        y, z = shape.belt + 0.03, self.screen - 0.12 * (shape.length < 7) - 0.3
        for x in (-self.half - 0.17, self.half - 0.02):
            self.solid.box((x, y, z), (x + 0.19, y + 0.2, z + 0.12), who.mirrors)
        if who.spare_wheel:
            r, y = 0.32, shape.clearance + 0.2
            halves = [(0.4 * r, y), (r, y + 0.6 * r), (r, y + 1.4 * r), (0.4 * r, y + 2 * r)]
            rings = [[(x, height, self.rear - depth) for x, height in halves] for depth in (0.2, 0.01)]
            self.solid.loft(rings, RUBBER)
            cover = [(x * 0.7, y + r + 0.7 * (height - y - r), self.rear - 0.2 - GAP) for x, height in halves]
            self.solid.decal([*cover, *map(mirror, cover[::-1])], who.second, REAR)
