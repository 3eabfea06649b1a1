"""Opens every image of a data set once, for the hash of its bytes and for its pixels, and keeps neither."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from PIL import Image, UnidentifiedImageError

from nas.data.base import ReIDData
from nas.data.images import Files, ImageSource, Joined, Taken, orientation_of, reason_of, to_rgb
from nas.data.scenes import SceneData

CHUNK = 64  # images that a thread looks at in one go, so that what waits stays small even with a million images
DRAWN = "drawn"


class Seen(NamedTuple):
    """What an image turned out to be: the SHA-256 of its file (where it is no file: of its pixels), Pillow's names of
    format and mode as stored, (width, height) as read, its orientation tag, whether it was turned as that says, the
    bits that its largest value needs where it has 16 per channel, and whether it has further frames. Or the reason why
    it cannot be decoded, and nothing else."""

    digest: bytes = b""
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    is_turned: bool = False
    bits: int = 0
    has_frames: bool = False
    reason: str = ""


class File(NamedTuple):
    """An image's file, and whether its orientation tag counts (see `Files`)."""

    path: Path
    upright: bool


class Place(NamedTuple):
    """Image `number` of a split."""

    split: str
    number: int


D = TypeVar("D", bound=ReIDData | SceneData)


@dataclass(frozen=True)
class Looked(Generic[D]):
    """A data set, and what each image of each split turned out to be."""

    data: D
    seen: dict[str, list[Seen]]

    def everything(self) -> Iterator[tuple[Place, Seen]]:
        return ((Place(split, i), one) for split, seen in self.seen.items() for i, one in enumerate(seen))

    def name(self, place: Place) -> str:
        """The image's path relative to `folder`, or its made-up name."""
        name = self.data.splits[place.split].images.name(place.number)
        return os.path.relpath(name, self.folder) if self.folder else name

    @cached_property
    def folder(self) -> Path | None:
        """The deepest folder that contains all image files; None where images are not files."""
        folders = image_folders(self.data)
        return Path(os.path.commonpath(folders)) if folders else None

    @cached_property
    def duplicates(self) -> list[list[Place]]:
        """Groups of images with the same bytes."""
        groups = defaultdict(list)
        for place, one in self.everything():
            if not one.reason:
                groups[one.digest].append(place)
        return [group for group in groups.values() if len(group) > 1]


def look(data: D, num_threads: int, progress: Callable[[int, int], None] | None = None) -> Looked[D]:
    """Looks at every image. `progress` is called with (images done, images in all)."""
    files = {name: files_of(split.images) for name, split in data.splits.items()}
    chunks = [
        (name, range(start, min(start + CHUNK, len(split))))
        for name, split in data.splits.items()
        for start in range(0, len(split), CHUNK)
    ]

    def looked_at(chunk: tuple[str, range]) -> list[Seen]:
        name, numbers = chunk
        images, of_split = data.splits[name].images, files[name]
        return [seen_drawn(images, i) if (file := of_split[i]) is None else seen_file(file) for i in numbers]

    seen: dict[str, list[Seen]] = {name: [] for name in data.splits}
    done, total = 0, sum(map(len, data.splits.values()))
    with ThreadPoolExecutor(num_threads) as pool:
        for (name, _), some in zip(chunks, pool.map(looked_at, chunks), strict=True):
            seen[name] += some
            done += len(some)
            if progress:
                progress(done, total)
    return Looked(data, seen)


def files_of(images: ImageSource) -> Sequence[File | None]:
    """The file of each image; None for one that is no file."""
    match images:
        case Files():
            return [File(path, images.upright) for path in images.paths]
        case Taken():
            files = files_of(images.images)
            return [files[i] for i in images.indices]
        case Joined():
            return [file for part in images.parts for file in files_of(part)]
    return [None] * len(images)


def seen_file(file: File) -> Seen:
    try:
        content = file.path.read_bytes()
    except OSError as error:
        return Seen(reason=error.strerror or reason_of(error))
    if not content:
        return Seen(reason="the file is empty (0 bytes)")
    try:
        with Image.open(BytesIO(content)) as image:
            stored = image.format or "", image.mode
            rgb = to_rgb(image, file.upright)
            orientation = orientation_of(image)
    except UnidentifiedImageError:
        return Seen(reason="no image format that Pillow knows, or the beginning of the file is damaged")
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise nearly every type
        return Seen(reason=reason_of(error))
    is_turned, bits = file.upright and orientation != 1, rgb.info.get("bits", 0)
    return Seen(sha256(content).digest(), *stored, rgb.size, orientation, is_turned, bits, "frames" in rgb.info)


def seen_drawn(images: ImageSource, i: int) -> Seen:
    try:
        image = images.read(i)
    except ValueError as error:
        return Seen(reason=reason_of(error))
    return Seen(sha256(f"{image.size}".encode() + image.tobytes()).digest(), DRAWN, image.mode, image.size)


def image_folders(data: ReIDData | SceneData) -> set[Path]:
    """The folders that image files lie in, as absolute paths; empty where images are not files."""
    files = [file for split in data.splits.values() for file in files_of(split.images) if file is not None]
    return {folder.absolute() for folder in {file.path.parent for file in files}}
