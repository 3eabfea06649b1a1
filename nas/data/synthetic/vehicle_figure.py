"""What makes a vehicle: a shape with proportions, few shared colours, and details that some sides alone show."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nas.data.synthetic.solid import Colour

PAINTS: tuple[Colour, ...] = (
    (196, 196, 192), (150, 153, 158), (98, 102, 110), (48, 49, 55), (62, 80, 124), (136, 52, 48),
)  # fmt: skip
ACCENTS: tuple[Colour, ...] = (
    (222, 222, 216), (34, 34, 38), (204, 172, 60), (160, 48, 44), (52, 78, 150), (60, 112, 72),
)  # fmt: skip
TRIMS: tuple[Colour, ...] = ((38, 38, 42), (120, 122, 126), (196, 198, 202))
GLASS: tuple[Colour, ...] = ((30, 33, 40), (62, 74, 86), (98, 112, 122))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Measures in metres; `windscreen`, `roof_front`, `roof_rear` and `back` in lengths from the nose: where the
    windscreen begins, where the roof begins and ends, and where the rear window ends."""

    length: float
    width: float
    height: float
    clearance: float  # from the ground to the body
    belt: float  # height of the windows' lower edge
    nose: float  # height of the bonnet's front edge, relative to the belt: at most 1, so that the cabin is above all
    deck: float  # of the tail, likewise
    windscreen: float
    roof_front: float
    roof_rear: float
    back: float
    narrowing: float  # of the roof, relative to the body
    taper: float  # of nose and tail, likewise
    wheel: float  # radius


SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "sedan": ((4.4, 4.9), (1.76, 1.88), (1.38, 1.5), (0.2, 0.26), (0.9, 0.97), (0.72, 0.8), (0.94, 1.0),
              (0.26, 0.31), (0.4, 0.46), (0.68, 0.76), (0.83, 0.89), (0.66, 0.76), (0.78, 0.88), (0.3, 0.35)),
    "hatchback": ((3.5, 4.2), (1.66, 1.8), (1.42, 1.58), (0.2, 0.26), (0.9, 0.98), (0.74, 0.84), (0.96, 1.0),
                  (0.19, 0.26), (0.34, 0.42), (0.82, 0.89), (0.94, 0.98), (0.68, 0.78), (0.78, 0.88), (0.29, 0.33)),
    "estate": ((4.5, 4.9), (1.76, 1.88), (1.42, 1.54), (0.2, 0.28), (0.9, 0.97), (0.72, 0.8), (0.97, 1.0),
               (0.26, 0.3), (0.39, 0.44), (0.9, 0.94), (0.97, 0.985), (0.68, 0.76), (0.8, 0.88), (0.3, 0.35)),
    "SUV": ((4.2, 4.9), (1.82, 1.98), (1.66, 1.9), (0.32, 0.42), (1.08, 1.2), (0.84, 0.94), (0.95, 1.0),
            (0.22, 0.28), (0.33, 0.39), (0.86, 0.94), (0.96, 0.985), (0.72, 0.84), (0.84, 0.93), (0.36, 0.43)),
    "van": ((4.6, 5.8), (1.86, 2.05), (1.9, 2.6), (0.26, 0.34), (1.12, 1.3), (0.76, 0.84), (0.97, 1.0),
            (0.1, 0.16), (0.22, 0.29), (0.975, 0.985), (0.985, 0.99), (0.8, 0.92), (0.88, 0.94), (0.33, 0.38)),
    "pickup": ((4.9, 5.5), (1.82, 1.98), (1.7, 1.9), (0.34, 0.44), (1.1, 1.2), (0.86, 0.95), (0.93, 0.98),
               (0.25, 0.3), (0.35, 0.4), (0.5, 0.62), (0.54, 0.66), (0.74, 0.84), (0.86, 0.94), (0.37, 0.43)),
    "bus": ((7.5, 10.0), (2.3, 2.5), (2.8, 3.2), (0.3, 0.38), (1.25, 1.5), (0.94, 1.0), (0.97, 1.0),
            (0.005, 0.012), (0.02, 0.05), (0.98, 0.99), (0.992, 0.996), (0.88, 0.95), (0.9, 0.97), (0.45, 0.5)),
    "truck": ((6.0, 7.8), (2.1, 2.4), (2.3, 2.8), (0.42, 0.55), (1.4, 1.6), (0.86, 0.95), (0.97, 1.0),
              (0.005, 0.03), (0.04, 0.08), (0.2, 0.25), (0.25, 0.26), (0.84, 0.93), (0.9, 0.97), (0.43, 0.5)),
}  # fmt: skip
NUM_WINDOWS = {"van": (1, 4), "bus": (4, 7), "truck": (1, 1), "pickup": (1, 2)}  # of a side: fewest, most; else 2, 3
LAMPS = ("round", "slit", "block", "tall", "twin")
TAIL_LAMPS = ("round", "bar", "block", "tall", "twin")
GRILLES = ("none", "wide", "bars", "small", "badge", "tall")
RIMS = ("plain", "ring", "spokes", "cross", "hub")
STRIPES = (None, None, "low", "belt", "double", "sill")
SIGNS = (None, None, "disc", "bars", "chevron", "block", "diamond")
ROOFS = (None, None, "rails", "bars", "box", "taxi", "lights")
ROOFS_OF = {"van": (None, "bars", "ladder", "vent"), "bus": (None, "vent"), "truck": (None, "lights")}


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What makes an identity. Colours come from a palette so small that many share them: where they are tells."""

    kind: str
    shape: Shape
    paint: Colour
    cabin: Colour
    bonnet: Colour
    doors: tuple[Colour, Colour]  # right, left
    second: Colour  # of stripes, of the band across the windscreen, and of the spare wheel's cover
    trim: Colour  # of rails, ladders and bull bars
    bumper: Colour
    mirrors: Colour
    glass: Colour
    rear_glass: Colour
    num_windows: int  # of a side
    lamps: str
    tail_lamps: str
    grille: str
    plate: float  # from the middle of the front, in half widths
    high_plate: bool  # at the rear
    plate_colour: Colour
    rims: str
    rim_colour: Colour
    stripe: str | None
    bonnet_stripes: bool
    signs: tuple[str | None, str | None]  # right, left
    sign_colours: tuple[Colour, Colour]
    sign_place: float  # along the side, 0 to 1
    roof: str | None
    roof_colour: Colour
    sunroof: bool
    sun_strip: bool
    spare_wheel: bool
    bull_bar: bool
    ornaments: tuple[tuple[float, Colour], ...]  # behind the windscreen: how far across, 0 to 1
    sticker: tuple[float, Colour] | None  # on the rear window, likewise
    cargo: float  # height of a truck's box


def drawn_appearance(rng: np.random.Generator) -> Appearance:
    """An identity by chance."""

    def one(options: tuple[Any, ...]) -> Any:
        return options[rng.integers(len(options))]

    def maybe(probability: float) -> bool:
        return bool(rng.random() < probability)

    kind, paint = one(tuple(SHAPES)), one(PAINTS)
    measures = (float(rng.uniform(low, high)) for low, high in SHAPES[kind])
    doors = [one(PAINTS) if maybe(0.15) else paint for _ in range(2)]
    shape = Shape(**dict(zip((field.name for field in fields(Shape)), measures, strict=True)))
    fewest, most = NUM_WINDOWS.get(kind, (2, 3))
    return Appearance(
        kind=kind, shape=shape, paint=paint, cabin=one((*PAINTS, TRIMS[0])) if maybe(0.3) else paint,
        bonnet=one(PAINTS) if maybe(0.15) else paint, doors=(doors[0], doors[1]), second=one(ACCENTS),
        trim=one(TRIMS), bumper=one((paint, paint, *TRIMS)), mirrors=one((paint, paint, *TRIMS)),
        glass=one(GLASS), rear_glass=one(GLASS), num_windows=int(rng.integers(fewest, most + 1)), lamps=one(LAMPS),
        tail_lamps=one(TAIL_LAMPS), grille=one(GRILLES), plate=one((0.0, 0.0, 0.0, -0.45, 0.45)), high_plate=maybe(0.5),
        plate_colour=one((ACCENTS[0], ACCENTS[0], ACCENTS[2])), rims=one(RIMS), rim_colour=one((*TRIMS, TRIMS[2])),
        stripe=one(STRIPES), bonnet_stripes=maybe(0.15),
        signs=(one(SIGNS), one(SIGNS)), sign_colours=(one(ACCENTS), one(ACCENTS)), sign_place=rng.uniform(0.25, 0.75),
        roof=one(ROOFS_OF.get(kind, ROOFS)), roof_colour=one(ACCENTS), sunroof=maybe(0.25),
        sun_strip=maybe(0.25), spare_wheel=kind in ("SUV", "van") and maybe(0.4),
        bull_bar=kind in ("SUV", "pickup", "truck") and maybe(0.4),
        ornaments=tuple((rng.uniform(0.1, 0.9), one(ACCENTS)) for _ in range(rng.integers(0, 3))),
        sticker=(rng.uniform(0.15, 0.85), one(ACCENTS)) if maybe(0.4) else None, cargo=rng.uniform(2.5, 3.5),
    )  # fmt: skip
