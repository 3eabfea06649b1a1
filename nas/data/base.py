"""What every data set gives: three splits of named images with identities and cameras, checked before training."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

SPLITS = ("train", "query", "gallery")
NUM_THREADS = 8  # decoding waits for the disk and runs outside Python's lock, so more threads than cores pay off


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
    """Images in files of any format that Pillow opens. Orientation tags are ignored: pixels come as they are stored."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> Image.Image:
        try:
            with Image.open(self.paths[i]) as image:
                return to_rgb(image)
        except Exception as error:  # Pillow's decoders raise nearly every type; the file's name is what the user needs
            raise ValueError(f"cannot read the image {self.paths[i]}: {reason_of(error)}") from error

    def name(self, i: int) -> str:
        return str(self.paths[i])


@dataclass(frozen=True)
class Taken:
    """Some images of another source, in the order of `indices`."""

    images: ImageSource
    indices: np.ndarray

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


def to_rgb(image: Image.Image) -> Image.Image:
    """Decodes `image` completely into 8-bit RGB. 16-bit grey is scaled, not clipped; transparency is dropped."""
    if image.mode.startswith("I"):
        pixels = np.asarray(image, dtype=np.int64)
        if pixels.min() < 0 or pixels.max() >= 2**16:
            raise ValueError("its grey values must fit into 16 bits; save it with 8 bits per channel")
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 bits per channel")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their identities [N] and cameras [N] (int64), or no cameras at all.

    Identity -1 is junk: it is in no training set, and evaluation removes it from every ranking. Camera -1 is unknown:
    no query has it, so that no image is taken out of a ranking for it.
    """

    images: ImageSource
    ids: np.ndarray
    cameras: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.images), len(self.ids)] + ([] if self.cameras is None else [len(self.cameras)])
        if len(set(lengths)) > 1:
            raise ValueError(f"a split needs one identity and one camera for each image; got {lengths} of them")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices` (integers, or a mask [N]), in that order."""
        indices = np.arange(len(self))[indices]
        inner = self.images
        images = Taken(inner.images, inner.indices[indices]) if isinstance(inner, Taken) else Taken(inner, indices)
        cameras = None if self.cameras is None else self.cameras[indices]
        return Split(images=images, ids=self.ids[indices], cameras=cameras)

    def joined(self, other: "Split") -> "Split":
        """These images, then those of `other`; both have cameras or neither has."""
        cameras = None if self.cameras is None else np.concatenate([self.cameras, other.cameras])
        return Split(
            images=Joined((self.images, other.images)), ids=np.concatenate([self.ids, other.ids]), cameras=cameras
        )


@dataclass(frozen=True, kw_only=True)
class ReIDData:
    """A data set for re-identification: identities to train on, and queries to find in a gallery."""

    name: str
    train: Split
    query: Split
    gallery: Split
    partitions: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """Where a protocol repeats: for each repeat the indices of its queries and of its gallery among all test images,
    which are `query` followed by `gallery`. The first repeat is those two themselves. Empty: one evaluation."""
    label_noise: float = 0.0
    """Share of the training labels that are redrawn in each epoch."""

    @property
    def identities(self) -> tuple[int, ...]:
        """The training identities in ascending order; the label of an identity is its position here."""
        return tuple(np.unique(self.train.ids).tolist())

    @property
    def train_labels(self) -> np.ndarray:
        """The labels of the training images, int64 [N], in 0 .. number of identities - 1."""
        return np.unique(self.train.ids, return_inverse=True)[1].astype(np.int64)

    @property
    def splits(self) -> dict[str, Split]:
        return {name: getattr(self, name) for name in SPLITS}

    def counts(self) -> dict[str, int]:
        """Numbers of images, identities and cameras, to hold against published ones.

        Junk (-1) is among the images, not among the identities. Distractors are the gallery images of an identity that
        no query has; Market-1501 gives all of its own the identity 0, which counts as one. Cameras are those of all
        splits, without the unknown one (-1).
        """
        counts, cameras = {}, np.empty(0, dtype=np.int64)
        for name, split in self.splits.items():
            counts |= {f"{name}_images": len(split), f"{name}_identities": num_known(split.ids)}
            cameras = np.union1d(cameras, () if split.cameras is None else split.cameras)
        distractors = (self.gallery.ids >= 0) & ~np.isin(self.gallery.ids, self.query.ids)
        return counts | {
            "gallery_junk": int((self.gallery.ids < 0).sum()),
            "gallery_distractors": int(distractors.sum()),
            "cameras": num_known(cameras),
        }


def num_known(numbers: np.ndarray) -> int:
    """How many different identities or cameras there are, without those that stand for none (-1)."""
    return len(np.unique(numbers[numbers >= 0]))


def count_differences(data: ReIDData, published: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """(name, published number, found number) of each of `data.counts()` that is not as published."""
    found = data.counts()
    return [(name, number, found[name]) for name, number in published.items() if found[name] != number]


@dataclass(frozen=True, kw_only=True)
class DataSource(ABC):
    """The `data` field of a recipe: where a data set lies, and what to do with its flaws.

    single_images: what happens with a training identity that has one image only, of which no pair can be formed:
        an error, leave the identity out, or keep it (the sampler then repeats the image).
    unreadable: what happens with an image file that cannot be decoded. By default `load` opens no image, and filling
        the image cache, which is before training, raises an error naming all of them. With "skip", `load` itself
        decodes every image once and leaves these out with a warning.
    strict: what happens when the numbers of images and identities are not the published ones: a warning with both
        numbers, or an error.
    label_noise: share of the training labels, in [0, 1), that are redrawn in each epoch (KSL, Figure 6).
    """

    single_images: Literal["error", "drop", "keep"] = "error"
    unreadable: Literal["error", "skip"] = "error"
    strict: bool = False
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_noise < 1:
            raise ValueError(f"label_noise must be a share in [0, 1), not {self.label_noise}")

    @abstractmethod
    def listed(self) -> ReIDData:
        """The data set as it lies on disk, no image opened yet. Raises ValueError when the layout is wrong."""

    def published(self) -> dict[str, int]:
        """The published numbers to hold against `ReIDData.counts`, by the same names; empty where there are none."""
        return {}

    def partitioned(self, data: ReIDData) -> ReIDData:
        """`data` with the partitions of a protocol that repeats itself, drawn from all test images that `data` has."""
        return data

    def load(self) -> ReIDData:
        """The data set, fit for training: see the fields. Raises ValueError saying what is wrong and how to fix it."""
        data = self.listed()
        check_counts(data, self.published(), self.strict)
        if self.unreadable == "skip":
            data = self.partitioned(without_unreadable(data))
        data = replace(data, train=data.train.take(data.train.ids >= 0), label_noise=self.label_noise)
        check_apart(data)
        data = checked_singles(data, self.single_images)
        for name, split in data.splits.items():
            if len(split) == 0:
                raise ValueError(f"{data.name}: the {name} split needs at least one image, and has none")
        return data


def check_counts(data: ReIDData, published: Mapping[str, int], strict: bool) -> None:
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


def check_apart(data: ReIDData) -> None:
    """Raises ValueError naming the identities that are both in training and among queries or gallery."""
    if len(shared := np.intersect1d(data.train.ids, np.union1d(data.query.ids, data.gallery.ids))):
        raise ValueError(
            f"{data.name}: training and test must not share an identity, but both have {listing(shared)}. "
            "Leave these out of training, or out of query and gallery"
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
    splits, failed = {}, []
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


def unreadable_error(failures: Sequence[tuple[str, str]]) -> ValueError:
    """The error that names images which cannot be decoded, given as (name, reason)."""
    return ValueError(
        f"every image must be readable, but these are not: {listing([reason for _, reason in failures], '; ')}. "
        'Replace or remove them, or set unreadable to "skip" to leave them out'
    )


def listing(names: Sequence, separator: str = ", ") -> str:
    """The first ten of `names`, and how many there are when there are more."""
    shown = separator.join(str(name) for name in list(names)[:10])
    return shown if len(names) <= 10 else f"{shown}{separator}... ({len(names)} in all)"
