"""What a deployed network's file says of itself: what it takes, what it gives, where it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.system.config import decode, encode
from nas.system.files import blamed_on, check_format, parse_object
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, CountOrZero, Pixels

FORMAT = 1
KEY = "nas_reid"
"""Under this name a file's metadata hold the card, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A deployed network's card. Images come as `[B, 3, height, width]`."""

    height: Pixels
    """Height of the images, in pixels."""
    width: Pixels
    """Width of the images, in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean that is taken off each channel of an image in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Deviation that each channel is divided by then."""
    colour_order: Literal["RGB"] = "RGB"
    """Order of the channels."""
    takes: Literal["normalised", "uint8"] = "normalised"
    """Whether the file takes float images that are normalised already, or whole numbers 0 to 255 and normalises them
    itself. Of the latter the features have unit length."""
    embedding_size: CountOrZero = 0
    """Length of a feature; 0: a detector gives none."""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """The distance that features are compared by."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Precision of the weights."""
    network: str = ""
    """What it is, for people."""
    architecture: Architecture | None = None
    """Architecture; None: the published point of its space."""
    num_identities: Count | None = None
    """Identities it was trained on."""
    thresholds: tuple[tuple[float, float], ...] = ()
    """Pairs of a false positive rate and the largest distance of two images that are then taken for one identity,
    measured on a test split."""
    eer_threshold: float | None = None
    """That distance where false positives and false negatives are equally frequent."""

    def to_json(self) -> str:
        architecture = self.architecture and self.architecture.to_dict()
        return json.dumps(
            {"format": FORMAT} | encode(replace(self, architecture=None)) | {"architecture": architecture}
        )

    @classmethod
    def from_json(cls, text: str, path: Path) -> Card:
        """Reads what `to_json` wrote into the file `path`. Raises ValueError naming it where it is no card."""
        what = f"the card of {path}"
        data = parse_object(text, what)
        check_format(data, FORMAT, path)
        plain = {key: value for key, value in data.items() if key not in ("format", "architecture")}
        card = decode(plain, cls, what)
        held = data.get("architecture")
        with blamed_on(path):
            return replace(card, architecture=Architecture.from_dict(held) if held is not None else None)
