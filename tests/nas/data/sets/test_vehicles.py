"""A synthetic vehicle keeps its details from each side, and only there; its surroundings do not know it."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from PIL import Image

from nas.data.synthetic.vehicle_body import body
from nas.data.synthetic.vehicle_figure import SHAPES, Appearance, drawn_appearance
from nas.data.synthetic.vehicle_scene import VehicleCamera

GREEN = (0, 255, 0)
VIEWS = {"front": 0.0, "right": pi / 2, "rear": pi, "left": -pi / 2}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def one_of(kind: str) -> Appearance:
    return next(who for who in (drawn_appearance(rng(seed)) for seed in range(200)) if who.kind == kind)


def picture_of(who: Appearance, yaw: float) -> np.ndarray:
    image = Image.new("RGB", (128, 96), (90, 110, 90))
    body(who).paint(image, (8, 8, 120, 88), yaw=yaw, pitch=0.2, distance=16.0)
    return np.asarray(image).astype(int)


def difference(one: Appearance, other: Appearance, yaw: float) -> int:
    """Number of pixels that are not the same."""
    return np.count_nonzero((picture_of(one, yaw) != picture_of(other, yaw)).any(axis=2))


class TestViews:
    @pytest.mark.parametrize("kind", SHAPES)
    def test_every_kind_fills_its_frame_from_every_side_and_looks_different(self, kind: str):
        pictures = {view: picture_of(one_of(kind), yaw) for view, yaw in VIEWS.items()}
        for picture in pictures.values():
            rows, columns = np.nonzero((picture != (90, 110, 90)).any(axis=2))
            assert min(rows) >= 7 and max(rows) <= 89 and min(columns) >= 7 and max(columns) <= 121
            assert np.ptp(columns) >= 110 or np.ptp(rows) >= 78
        assert (pictures["front"] != pictures["rear"]).any(axis=2).mean() > 0.03
        assert (pictures["front"] != pictures["right"]).any(axis=2).mean() > 0.1

    @pytest.mark.parametrize(
        ("plain", "changed", "seen"),
        [
            ({"signs": (None, None)}, {"signs": ("block", None), "sign_colours": (GREEN, GREEN)}, {"right"}),
            ({"doors": ((9, 9, 9), (9, 9, 9))}, {"doors": ((9, 9, 9), GREEN)}, {"left"}),
            ({"high_plate": True}, {"high_plate": False}, {"rear"}),
            ({"plate": 0.0}, {"plate": 0.45}, {"front"}),
            ({"ornaments": ()}, {"ornaments": ((0.5, GREEN),)}, {"front"}),
            ({"sticker": None}, {"sticker": (0.5, GREEN)}, {"rear"}),
            ({"rim_colour": (9, 9, 9)}, {"rim_colour": GREEN}, {"left", "right"}),
            ({"grille": "none"}, {"grille": "wide"}, {"front"}),
            ({"roof": "taxi", "roof_colour": (9, 9, 9)}, {"roof_colour": GREEN}, set(VIEWS)),
        ],
        ids=["sign", "door", "rear plate", "front plate", "ornament", "sticker", "rims", "grille", "roof"],
    )
    def test_detail_is_seen_from_its_sides(self, plain: dict, changed: dict, seen: set[str]):
        """From the others not at all, or, on sloping glass, much less."""
        bare = replace(one_of("hatchback"), spare_wheel=False, **plain)
        pixels = {view: difference(bare, replace(bare, **changed), yaw) for view, yaw in VIEWS.items()}
        assert {view for view, number in pixels.items() if number > 0.2 * max(pixels.values())} == seen

    def test_spare_wheel_hides_the_rear_and_not_the_front(self):
        bare = replace(one_of("SUV"), spare_wheel=False)
        spare = replace(bare, spare_wheel=True)
        pixels = {view: difference(bare, spare, yaw) for view, yaw in VIEWS.items()}
        assert pixels["rear"] > 10 * pixels["front"]


class TestCamera:
    def test_pictures_of_one_vehicle_from_one_camera_are_alike(self):
        """More so than those of others: by mere pixels, most pictures are nearest to one of the same vehicle."""
        camera, pixels = replace(VehicleCamera.drawn(0, 1), occluded=0.0), []
        for i in range(48):
            picture = camera.picture(drawn_appearance(rng(i // 6)), rng(100 + i), 48, 64)
            centred = np.asarray(picture, dtype=float) - np.asarray(picture).mean((0, 1))
            pixels.append(centred.ravel() / np.linalg.norm(centred))
        likeness = np.array(pixels) @ np.array(pixels).T
        np.fill_diagonal(likeness, -1)
        assert (likeness.argmax(1) // 6 == np.arange(48) // 6).mean() > 0.6
        assert likeness.max() < 0.999

    @pytest.mark.parametrize("number", range(6))
    def test_what_surrounds_a_vehicle_depends_on_the_picture_alone(self, number: int):
        """Two vehicles in the same picture: backgrounds, things in the way, light and noise are the same."""
        camera = replace(VehicleCamera.drawn(0, number), blur=0.0, scale=0.7)
        for i in range(4):
            one, other = (np.asarray(camera.picture(drawn_appearance(rng(who)), rng(i), 96, 128)) for who in (1, 2))
            same = (one == other).all(axis=2)
            assert same[:5].all() and same[-5:].all() and same[:, :5].all() and same[:, -5:].all()
            assert not same.all()

    def test_first_cameras_see_a_vehicle_from_different_sides(self):
        yaws = np.sort([VehicleCamera.drawn(3, number).yaw % (2 * pi) for number in range(6)])
        assert np.diff(yaws).min() > 0.3
