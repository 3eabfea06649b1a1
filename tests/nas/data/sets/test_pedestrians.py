"""A drawn pedestrian looks different from each side. What all synthetic data sets keep is in test_drawings.py."""

from dataclasses import replace
from math import pi

import numpy as np
from PIL import Image, ImageChops

from nas.data.sets.pedestrians import Pedestrians
from nas.data.synthetic.pedestrian_figure import Appearance, Figure, drawn_appearance


def picture_of(who: Appearance, yaw: float) -> Image.Image:
    image = Image.new("RGB", (128, 256), (90, 90, 90))
    Figure(who, yaw=yaw, phase=0.5, x=64, y=250, size=240).paint(image)
    return image


def test_backpack_is_seen_from_behind_and_from_the_side_more_than_from_the_front():
    bare = replace(drawn_appearance(np.random.default_rng(0)), backpack=None, bag=None, girth=1.0)
    seen = {}
    for name, yaw in (("front", 0.0), ("side", pi / 2), ("back", pi)):
        pictures = [picture_of(replace(bare, backpack=pack), yaw) for pack in (None, (0, 255, 0))]
        seen[name] = np.count_nonzero(np.asarray(ImageChops.difference(*pictures)).any(axis=2))
    assert seen["back"] > seen["side"] > seen["front"] > 0


def test_half_as_wide_as_other_drawings():
    assert Pedestrians(height=16, width=8).load().train.images.read(3).size == (8, 16)
