"""Solids of flat faces, painted in perspective: the nearest last, each face as bright as it is turned to the light.

Coordinates in metres: x to the solid's left, y up from the ground (0), z forward. At yaw 0 it faces the viewer; at 90
degrees it faces the right edge of the image, as the synthetic pedestrians do.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float, float]

LIGHT = np.array([-0.43, 0.77, 0.47])  # towards the light, as the viewer sees it: right, up, near
AMBIENT, DIFFUSE = 0.5, 0.62


class Solid:
    """Parts, each a convex solid with flat decals on its faces. The boxes around the parts must not overlap."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.starts: list[int] = []  # of the faces, among the points
        self.colours: list[Colour] = []
        self.outward: list[Point] = []
        self.parts: list[int] = []  # their first faces
        self.bounds: list[tuple[Point, Point]] = []

    def decal(self, points: Iterable[Point], colour: Colour, outward: Point) -> None:
        """A polygon on the last part, seen from the side that `outward` roughly points to."""
        self.starts.append(len(self.points))
        self.points.extend(points)
        self.colours.append(colour)
        self.outward.append(outward)

    def loft(self, rings: Sequence[Sequence[Point]], colour: Colour) -> None:
        """A new part, the hull of `rings` from tail to nose. A ring is its left half (x, y, z), from the bottom up; the
        right half is its mirror image."""
        mirrored = [[mirror(point) for point in ring] for ring in rings]
        self._part([point for ring in (*rings, *mirrored) for point in ring])
        for end, forward in ((0, -1), (-1, 1)):
            for left, right in zip(pairwise(rings[end]), pairwise(mirrored[end]), strict=True):
                self.decal((*left, *right[::-1]), colour, (0, 0.2, forward))
        for half, side in ((rings, 1), (mirrored, -1)):
            for tail, nose in pairwise(half):
                for one, other in zip(pairwise(tail), pairwise(nose), strict=True):
                    self.decal((*one, *other[::-1]), colour, (side, 0.2, 0))
        for (tail, nose), (tail_right, nose_right) in zip(pairwise(rings), pairwise(mirrored), strict=True):
            self.decal((tail[-1], nose[-1], nose_right[-1], tail_right[-1]), colour, (0, 1, 0))

    def box(self, low: Point, high: Point, colour: Colour) -> None:
        """A new part, the upright box between two corners."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        self._part((low, high))
        for x, side in ((x0, -1), (x1, 1)):
            self.decal(((x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)), colour, (side, 0, 0))
        for z, forward in ((z0, -1), (z1, 1)):
            self.decal(((x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)), colour, (0, 0, forward))
        self.decal(((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)), colour, (0, 1, 0))

    def _part(self, points: Sequence[Point]) -> None:
        corners = np.array(points)
        self.parts.append(len(self.starts))
        self.bounds.append((tuple(corners.min(0)), tuple(corners.max(0))))


class Faces:
    """A finished solid, ready to be seen from anywhere above its ground."""

    def __init__(self, solid: Solid) -> None:
        self._points, self._colours = np.array(solid.points), np.array(solid.colours, dtype=float)
        first, count = np.array(solid.starts), np.diff([*solid.starts, len(solid.points)])
        self._ranges = list(zip((2 * first).tolist(), (2 * (first + count)).tolist(), strict=True))
        self._parts = list(pairwise([*solid.parts, len(first)]))
        along = self._points[first + count // 2] - self._points[first]
        across = self._points[first + 3 * count // 4] - self._points[first + count // 4]
        normals = np.cross(along, across)
        normals *= np.sign((normals * np.array(solid.outward)).sum(1, keepdims=True))
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        self._anchors = self._points[first]
        self._low, self._high = np.array(solid.bounds).transpose(1, 0, 2)
        self._middle = (self._points.min(0) + self._points.max(0)) / 2

    def paint(
        self, image: Image.Image, frame: tuple[float, float, float, float], *, yaw: float, pitch: float, distance: float
    ) -> None:
        """Draws the solid onto `image`, as large as fits into `frame` (left, top, right, bottom, in pixels).

        yaw, pitch: of the view, in radians; pitch is that of looking down. distance: from eye to middle, in metres.
        """
        axes = np.array([
            (cos(yaw), 0, sin(yaw)),
            (sin(yaw) * sin(pitch), cos(pitch), -cos(yaw) * sin(pitch)),
            (-sin(yaw) * cos(pitch), sin(pitch), cos(yaw) * cos(pitch)),
        ])  # right, up, near  # fmt: skip
        right, up, near = axes @ (self._points - self._middle).T
        seen = np.stack([right, -up], axis=1) * (distance / (distance - near))[:, None]
        eye = self._middle + distance * axes[2]
        shade = AMBIENT + DIFFUSE * np.maximum(0, self._normals @ (LIGHT @ axes))
        colours = np.clip(self._colours * shade[:, None], 0, 255).astype(int).tolist()
        visible = ((eye - self._anchors) * self._normals).sum(1) > 0
        left, top, right, bottom = frame
        low, high = seen.min(0), seen.max(0)
        scale = min((right - left) / (high[0] - low[0]), (bottom - top) / (high[1] - low[1]))
        placed = (seen - (low + high) / 2) * scale + ((left + right) / 2, (top + bottom) / 2)
        pixels, pen = placed.ravel().tolist(), ImageDraw.Draw(image)
        for part in self._order(eye):
            for face in range(*self._parts[part]):
                if visible[face]:
                    start, end = self._ranges[face]
                    pen.polygon(pixels[start:end], fill=tuple(colours[face]))

    def _order(self, eye: np.ndarray) -> list[int]:
        """Parts from the farthest to the nearest. One cannot hide another if the eye is on the other's side of a plane
        between them that is square to an axis."""
        before = self._high[:, None] <= self._low + 1e-6  # [a, b, axis]: a ends where b begins, or before
        harmless = before & (eye >= self._high)[:, None] | before.transpose(1, 0, 2) & (eye <= self._low)[:, None]
        hides = (~harmless.any(2) & ~np.eye(len(self._low), dtype=bool)).astype(float)  # [a, b]
        waits, order = hides.sum(1), []
        for _ in hides:
            order.append(int(waits.argmin()))
            waits -= hides[:, order[-1]]
            waits[order[-1]] = np.inf
        return order


def mirror(point: Point) -> Point:
    return -point[0], point[1], point[2]


def disc(x: float, y: float, z: float, radius: float, corners: int = 12) -> list[Point]:
    """A regular polygon square to the x axis."""
    angles = (2 * pi * i / corners for i in range(corners))
    return [(x, y + radius * sin(angle), z + radius * cos(angle)) for angle in angles]


def patch(quad: Sequence[Point], u0: float, u1: float, v0: float, v1: float) -> list[Point]:
    """The part of a four-cornered face from u0 to u1 of the way from its first to its second corner, and from v0 to v1
    of the way from there to the opposite edge."""
    corners = np.array(quad)
    places = ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
    weights = [((1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v) for u, v in places]
    return [tuple(point) for point in (np.array(weights) @ corners).tolist()]
