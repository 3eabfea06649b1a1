"""What is checked of a data set before training."""

import warnings
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from nas.data.base import ReIDData, Split
from nas.data.images import NUM_THREADS, ImageSource


class Counted(Protocol):
    """A data set of any task."""

    @property
    def name(self) -> str: ...

    def counts(self) -> dict[str, int]: ...


def count_differences(data: Counted, published: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """(name, published number, found number) of each of `data.counts()` that is not as published."""
    found = data.counts()
    return [(name, number, found[name]) for name, number in published.items() if found[name] != number]


def check_counts(data: Counted, published: Mapping[str, int], strict: bool) -> None:
    """Warns, or raises ValueError when `strict`, with both numbers of each count that is not as published."""
    different = [
        f"{name} must be {number:,} and is {found:,}" for name, number, found in count_differences(data, published)
    ]
    if not different:
        return
    message = f"{data.name} does not have the published counts: {'; '.join(different)}"
    if strict:
        raise ValueError(f"{message}. Complete the data set, or set strict to False to be warned only")
    warnings.warn(message, stacklevel=3)


def warn_of(name: str, remarks: Mapping[str, Collection]) -> None:
    """A warning for each remark that has cases: how many there are, and the first ones."""
    for sentence, cases in remarks.items():
        if cases:
            warnings.warn(f"{name}: {len(cases):,} {sentence}: {listing(cases)}", stacklevel=3)


LEFT_OUT = (
    "files or folders among the images are left out, because their names end as no format that Pillow decodes; "
    "convert those that are images to PNG or JPEG, and move the others away"
)
"""What is wrong with `ReIDData.left_out`, and what to do."""


def check_apart(data: ReIDData) -> None:
    """Raises ValueError naming the identities that are both in training and among queries or gallery."""
    if len(shared := np.intersect1d(data.train.ids, np.union1d(data.query.ids, data.gallery.ids))):
        raise ValueError(
            f"{data.name}: training and test must not share an identity, but both have {listing(shared)}. "
            "Leave these out of training, or out of query and gallery"
        )


def check_known_cameras(data: ReIDData) -> None:
    """Raises ValueError naming the queries whose camera is unknown: nobody can tell which images are their own."""
    query = data.query
    unknown = () if query.cameras is None else np.flatnonzero(query.cameras < 0).tolist()
    if names := [query.images.name(i) for i in unknown]:
        raise ValueError(
            f"{data.name}: a query needs a known camera, 0 or more, but below 0 are those of {listing(names)}"
        )


def checked_singles(data: ReIDData, single_images: Literal["error", "drop", "keep"]) -> ReIDData:
    """`data` after `single_images` (see DataSource) was applied to its training identities."""
    identities, positions, counts = np.unique(data.train.ids, return_inverse=True, return_counts=True)
    single = counts == 1
    if single_images == "keep" or not single.any():
        return data
    if single_images == "drop":
        return replace(data, train=data.train.take(~single[positions]))
    raise ValueError(
        f"{data.name}: every training identity needs at least two images, but {listing(identities[single])} "
        'have only one. Add images, or set single_images to "drop" (leave them out) or "keep" (repeat the image)'
    )


def without_unreadable(data: ReIDData) -> ReIDData:
    """`data` without the images that cannot be decoded; warns with their number and first names."""
    splits: dict[str, Any] = {}
    failed: list[str] = []
    for name, split in data.splits.items():
        bad = dict(check_readable(split))
        splits[name] = split.take(np.array([split.images.name(i) not in bad for i in range(len(split))], dtype=bool))
        failed += bad
    if failed:
        warnings.warn(f"{data.name}: skipped {len(failed)} unreadable images: {listing(failed)}", stacklevel=3)
    return replace(data, **splits)


def check_readable(split: Split, num_threads: int = NUM_THREADS) -> list[tuple[str, str]]:
    """(name, reason) of each image that cannot be decoded. Decodes all of them, unless the source cannot fail."""
    if getattr(split.images, "always_readable", False):
        return []

    def attempt(i: int) -> tuple[str, str] | None:
        try:
            split.images.read(i)
        except ValueError as error:
            return split.images.name(i), str(error)
        return None

    with ThreadPoolExecutor(num_threads) as pool:
        return [failure for failure in pool.map(attempt, range(len(split))) if failure]


def too_dark(bits: Mapping[str, int]) -> list[str]:
    """Of images with 16 bits per channel, as name -> bits that the largest value needs, those that come out too dark.

    The upper 8 bits are read. An image that needs 12 or fewer is nearly black. Where no image needs more than 14, the
    camera gives no more, and all of them are too dark. An image that is black altogether (0 bits) has no fault.
    """
    bound = 14 if max(bits.values(), default=0) <= 14 else 12
    return [f"{name} ({number} bits)" for name, number in bits.items() if 0 < number <= bound]


TOO_DARK = (
    "images with 16 bits per channel, of which the upper 8 are read, whose values need fewer, so that they come out "
    "too dark or black; save them with 8 bits per channel, or multiplied so that they use all 16"
)
"""What is wrong with images that are too dark, and what to do."""


NOT_TURNED = (
    "images with an orientation tag (EXIF) are read as they are stored, as those of benchmarks are; turn those that do "
    "not lie upright and save them again, or list them in a CSV file, whose images are turned"
)


FIRST_FRAME = (
    "images with several frames or pages (GIF, WebP, PNG, TIFF), of which the first is read; save those that are meant "
    "as images of their own"
)


@dataclass(frozen=True)
class Flaws:
    """What turns up while images are decoded, in however many threads: why some cannot be, by their numbers; the bits
    that those with 16 per channel need, by their names; the names of those with an orientation tag that is not
    followed, and of those that have several frames."""

    unreadable: dict[int, str] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    lying: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)

    def read(self, images: ImageSource, i: int) -> Image.Image | None:
        """Image `i`; None where it cannot be decoded."""
        try:
            image = images.read(i)
        except ValueError as error:
            self.unreadable[i] = str(error)
            return None
        if "bits" in image.info:
            self.bits[images.name(i)] = image.info["bits"]
        if "orientation" in image.info:
            self.lying.append(images.name(i))
        if "frames" in image.info:
            self.several.append(images.name(i))
        return image

    def say(self, remedy: str, stacklevel: int) -> None:
        """Raises ValueError naming the images that cannot be decoded, with what to do about them; one warning each
        for those that come out too dark (see `too_dark`), that are not turned, and that have several frames."""
        if self.unreadable:
            reasons = listing([reason for _, reason in sorted(self.unreadable.items())], "; ")
            raise ValueError(f"every image must be readable, but these are not: {reasons}. {remedy}")
        if dark := sorted(too_dark(self.bits)):
            warnings.warn(f"{len(dark):,} {TOO_DARK}: {listing(dark, num_shown=3)}", stacklevel=stacklevel + 1)
        for names, said in ((self.lying, NOT_TURNED), (self.several, FIRST_FRAME)):
            if names:
                shown = listing(sorted(names), num_shown=3)
                warnings.warn(f"{len(names):,} {said}: {shown}", stacklevel=stacklevel + 1)


def listing(names: Collection, separator: str = ", ", num_shown: int = 10) -> str:
    """The first of `names`, and how many there are when there are more."""
    shown = separator.join(str(name) for name in list(names)[:num_shown])
    return shown if len(names) <= num_shown else f"{shown}{separator}... ({len(names)} in all)"
