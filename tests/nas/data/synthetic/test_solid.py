"""Solids are painted as rays see them."""

from math import cos, sin

import numpy as np
import pytest
from PIL import Image

from nas.data.synthetic.solid import Faces, Solid, patch

SIZE, PITCH, DISTANCE = 160, 0.3, 9.0
HUES = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200), (200, 200, 200))


def boxes(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes in some cells of a grid, none over its cell's border."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(list(np.ndindex(2, 2, 3)))[: len(HUES)]
    return [(cell + rng.uniform(0, 0.3, 3), cell + rng.uniform(0.6, 1, 3)) for cell in cells]


def painted(solids: list[tuple[np.ndarray, np.ndarray]], yaw: float) -> np.ndarray:
    """For each pixel the hue's number, or -1: which channels are lit."""
    solid, image = Solid(), Image.new("RGB", (SIZE, SIZE))
    for (low, high), hue in zip(solids, HUES, strict=True):
        solid.box(tuple(low), tuple(high), hue)
    Faces(solid).paint(image, (0, 0, SIZE, SIZE), yaw=yaw, pitch=PITCH, distance=DISTANCE)
    lit = (np.asarray(image) > 0) @ [1, 2, 4]
    codes = [(np.array(hue) > 0) @ [1, 2, 4] for hue in HUES]
    return np.array([-1, *np.argsort(codes)])[lit]


def eye_and_rays(solids: list[tuple[np.ndarray, np.ndarray]], yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """The eye [3], and for each pixel the direction from there [SIZE * SIZE, 3]."""
    axes = np.array([[cos(yaw), 0, sin(yaw)], [sin(yaw) * sin(PITCH), cos(PITCH), -cos(yaw) * sin(PITCH)],
                     [-sin(yaw) * cos(PITCH), sin(PITCH), cos(yaw) * cos(PITCH)]])  # fmt: skip
    corners = np.array([np.choose(which, pair) for pair in solids for which in np.ndindex(2, 2, 2)])
    middle = (corners.min(0) + corners.max(0)) / 2
    right, up, near = axes @ (corners - middle).T
    seen = np.stack([right, -up]) * DISTANCE / (DISTANCE - near)
    places = np.stack(np.meshgrid(range(SIZE), range(SIZE)), -1).reshape(-1, 2) - SIZE / 2
    places = places * np.ptp(seen, axis=1).max() / SIZE + (seen.min(1) + seen.max(1)) / 2
    rays = np.column_stack([places[:, 0], -places[:, 1], np.full(len(places), -DISTANCE)]) @ axes
    return middle + DISTANCE * axes[2], rays


def first_hits(solids: list[tuple[np.ndarray, np.ndarray]], eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """For each pixel the number of the box that its ray meets first, or -1."""
    distances = []
    for low, high in solids:
        enters, leaves = np.sort([(low - eye) / rays, (high - eye) / rays], axis=0)
        near, far = enters.max(1), leaves.min(1)
        distances.append(np.where(near < far, near, np.inf))
    hits = np.where(np.isinf(distances).all(0), -1, np.argmin(distances, axis=0))
    return hits.reshape(SIZE, SIZE)


def away_from_edges(numbers: np.ndarray) -> np.ndarray:
    """Where a pixel's neighbours up to two away are as itself."""
    shifts = [np.roll(numbers, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)]
    return (np.array(shifts) == numbers).all(0)


@pytest.mark.parametrize("yaw", [0.3, 1.9, -0.8, 2.9])
@pytest.mark.parametrize("seed", range(4))
def test_nearest_box_is_seen(seed: int, yaw: float):
    solids = boxes(seed)
    expected = first_hits(solids, *eye_and_rays(solids, yaw))
    sure = away_from_edges(expected)
    assert (painted(solids, yaw) == expected)[sure].all()
    assert sure.mean() > 0.5 and len(np.unique(expected[sure])) > 4


def test_face_turned_to_the_light_is_brighter():
    image = Image.new("RGB", (60, 60))
    solid = Solid()
    solid.box((0, 0, 0), (1, 1, 1), (100, 100, 100))
    Faces(solid).paint(image, (0, 0, 60, 60), yaw=0.0, pitch=0.5, distance=5.0)
    top, front = image.getpixel((30, 8)), image.getpixel((30, 40))
    assert top > front > (50, 50, 50)


def test_patch_of_a_face():
    square = [(0, 0, 0), (2, 0, 0), (2, 4, 0), (0, 4, 0)]
    assert patch(square, 0.25, 1, 0.5, 0.75) == [(0.5, 2, 0), (2, 2, 0), (2, 3, 0), (0.5, 3, 0)]
