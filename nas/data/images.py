"""Where images come from: files, parts of a sequence, several sequences in a row."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import ExifTags, Image

from nas.system.config import WITHOUT_EFFECT
from search_spaces.ranges import NonNegative, Pixels, Processes, Ranged

NUM_THREADS = 8  # decoding waits for the disk and runs outside Python's lock, so more threads than cores pay off


MOST_PIXELS = 2**26  # of an image; few bytes can stand for many, and several threads decode at a time
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation tag."""

NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow tells by their first bytes and cannot decode, or not without another program."""


@cache
def image_suffixes() -> frozenset[str]:
    """The endings of file names, in lower case and with the dot, of the formats that Pillow decodes."""
    suffixes = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in suffixes.items() if kind in Image.OPEN.keys() - NOT_DECODED)


class ImageSource(Protocol):
    """A numbered sequence of images. One that cannot fail to read may say so with `always_readable = True`."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> Image.Image:
        """Image `i` in RGB, any size. Raises ValueError naming the image when it cannot be read."""
        ...

    def name(self, i: int) -> str:
        """The path of image `i`, or a made-up name that tells it from all others."""
        ...


@dataclass(frozen=True)
class Files:
    """Images in files of any format that Pillow opens.

    upright: turns them as their orientation tag (EXIF) says. Otherwise pixels come as they are stored, as the published
    numbers of benchmarks need it; those of TIFF files are always turned, by Pillow.
    """

    paths: tuple[Path, ...]
    upright: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> Image.Image:
        try:
            with Image.open(self.paths[i]) as image:
                return to_rgb(image, self.upright)
        except Exception as error:  # Pillow's decoders raise nearly every type; the file's name is what the user needs
            raise ValueError(f"cannot read the image {self.paths[i]}: {reason_of(error)}") from error

    def name(self, i: int) -> str:
        return str(self.paths[i])


@dataclass(frozen=True)
class Taken:
    """Some images of another source, in the order of `indices`."""

    images: ImageSource
    indices: np.ndarray

    @classmethod
    def of(cls, images: ImageSource, indices: np.ndarray) -> Taken:
        """Those of `images` at `indices`; of what was taken itself, straight from its source."""
        return cls(images.images, images.indices[indices]) if isinstance(images, Taken) else cls(images, indices)

    @property
    def always_readable(self) -> bool:
        return getattr(self.images, "always_readable", False)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, i: int) -> Image.Image:
        return self.images.read(int(self.indices[i]))

    def name(self, i: int) -> str:
        return self.images.name(int(self.indices[i]))


@dataclass(frozen=True)
class Joined:
    """The images of several sources, one source after the other."""

    parts: tuple[ImageSource, ...]

    @property
    def always_readable(self) -> bool:
        return all(getattr(part, "always_readable", False) for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, i: int) -> Image.Image:
        part, place = self._find(i)
        return part.read(place)

    def name(self, i: int) -> str:
        part, place = self._find(i)
        return part.name(place)

    def _find(self, i: int) -> tuple[ImageSource, int]:
        for part in self.parts:
            if i < len(part):
                return part, i
            i -= len(part)
        raise IndexError("there are not that many images")


def to_rgb(image: Image.Image, upright: bool = False) -> Image.Image:
    """Decodes `image` completely into 8-bit RGB. Of 16 bits per channel the upper 8 stay; transparency is dropped.

    upright: turns it as its orientation tag says; otherwise `info["orientation"]` of the result is a tag that was not
    followed. Where the file has 16 bits per channel, `info["bits"]` says how many the largest value needs: in grey
    exactly, in colour 8 for less than 9. `info["frames"]` says that it has more than this one, the first.
    """
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"it has {image.width}x{image.height} pixels, more than any crop has; cut out what is meant")
    is_deep_colour = any(re.search(";16[BLN]", repr(tile)) for tile in getattr(image, "tile", ()))  # how it is stored
    if is_grey := image.mode.startswith("I"):
        pixels = np.asarray(image, dtype=np.int64)
        if pixels.min() < 0 or pixels.max() >= 2**16:
            raise ValueError("its grey values must fit into 16 bits; save it with 8 bits per channel")
        rgb = Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 bits per channel")
    else:
        rgb = (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("RGB")
    rgb.info = {}
    if (orientation := orientation_of(image)) in TURNS:
        if upright:
            rgb = rgb.transpose(TURNS[orientation])
        else:
            rgb.info["orientation"] = orientation
    if getattr(image, "is_animated", False) and image.format != "MPO":  # some cameras' JPEG with a preview
        rgb.info["frames"] = "several"
    if is_grey:
        rgb.info["bits"] = int(pixels.max()).bit_length()
    elif is_deep_colour:
        rgb.info["bits"] = 8 + int(np.asarray(rgb).max()).bit_length()
    return rgb


def orientation_of(image: Image.Image) -> int:
    """The orientation tag (EXIF) of a decoded image, 1 (upright) to 8; 1 where there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - for damaged EXIF data beside good pixels Pillow raises many types
        return 1
    return orientation if orientation in TURNS else 1


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


@dataclass(frozen=True, kw_only=True)
class Images(Ranged):
    """The size that images are resized to, the memory for decoded images, and the threads that decode them."""

    height: Pixels = 384
    """Height of all images, in pixels."""
    width: Pixels = 128
    """Width of all images, in pixels."""
    max_gib: NonNegative = field(default=8.0, metadata=WITHOUT_EFFECT)
    """Memory for decoded images, in GiB; 0: every image is decoded anew each time."""
    workers: Processes = field(default=NUM_THREADS, metadata=WITHOUT_EFFECT)
    """Threads that decode images."""
