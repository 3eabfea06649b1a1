"""The embedded data set of synthetic vehicles, to try what is meant for VeRi-776 and VehicleID."""

from dataclasses import dataclass
from typing import ClassVar

from nas.data.synthetic.source import Synthetic
from nas.data.synthetic.vehicle_scene import VehicleCamera
from search_spaces.ranges import Pixels


@dataclass(frozen=True, kw_only=True)
class Vehicles(Synthetic):
    """Synthetic vehicles of eight kinds, of any number and size.

    Paints are few and shared, most details show from one or two sides, and cameras look from different ones. Measured
    with the default fields, mAP across cameras, seeds 0 / 1 / 2 (chance: 0.04): linear discriminants of RGB histograms
    (8 x 8 x 8 bins) 0.05 / 0.09 / 0.07, of six stripes of them 0.11 / 0.18 / 0.12, of the pixels of the image's border
    (6 wide) 0.03 / 0.03 / 0.03. A plain network of four convolutions, each with batch normalisation and pooling,
    trained with labels only on images of half the size, moved by up to 4 pixels: 0.09 / 0.17 / 0.12 after 5 epochs and
    0.33 / 0.40 / 0.32 after 20 with 97,936 parameters, 0.18 / 0.24 / 0.19 after 20 with 6,340.
    """

    subject: ClassVar = "vehicles"
    camera: ClassVar = VehicleCamera

    height: Pixels = 96
    width: Pixels = 128
