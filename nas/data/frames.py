"""The frames of a video, decoded one by one, or of a folder of images."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from nas.data.images import Files, orientation_of
from nas.data.sets.folders import images_in
from nas.errors import first_line

LYING = (5, 6, 7, 8)
"""Orientation tags of images whose width is stored as their height."""


class Frames(Protocol):
    """Frames by their names, in their order."""

    path: Path

    def named(self, text: str) -> str:
        """The frame that a user calls `text`. Raises ValueError where there is none."""
        ...

    def size(self, name: str) -> tuple[int, int]:
        """Width and height of a frame, in pixels. Raises ValueError for one that cannot be read."""
        ...

    def read(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, Image.Image]]:
        """The frames in RGB with their names, those alone that are `wanted`; None: all. One is in memory at a time.
        Raises ValueError where one cannot be read, and at the end for those that never came."""
        ...


def frames_of(path: Path) -> Frames:
    """Raises ValueError for what is neither a folder of images nor a video that can be read."""
    if path.is_dir():
        return FrameFolder(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give a video, or a folder of frames")
    return Video(path)


class Video:
    """A video's frames, by their numbers from 0 on, in the order in which they are shown and as they are stored.

    Its packets are counted at first, without decoding them. Raises ValueError where the package av is missing, and for
    a file in which there is no video that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as (container, stream):
            self._size = (stream.codec_context.width, stream.codec_context.height)
            self.num_frames = sum(packet.size > 0 for packet in container.demux(stream))
        if not self.num_frames:
            raise ValueError(f"the video {path} has no frame")

    def named(self, text: str) -> str:
        if not (text.isascii() and text.isdigit()) or int(text) >= self.num_frames:
            raise ValueError(f"{self.path} has the frames 0 to {self.num_frames - 1}, and none called {text!r}")
        return str(int(text))

    def size(self, name: str) -> tuple[int, int]:
        return self._size

    def read(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, Image.Image]]:
        last = None if wanted is None else max(map(int, wanted), default=-1)
        number = -1
        with self._opened() as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if last is not None and number > last:
                    return
                if wanted is None or str(number) in wanted:
                    yield str(number), frame.to_image()
        if last is not None and number < last:
            raise ValueError(f"the video {self.path} ends with frame {number}, and frame {last} is asked for")

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The container and its first video stream."""
        try:
            import av
        except ImportError as error:
            raise ValueError(f"the video {self.path} needs the package av: pip install 'nas-reid[deploy]'") from error
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise ValueError(f"{self.path} has no video in it")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"the video {self.path} cannot be read: {error.strerror or first_line(error)}") from error


class FrameFolder:
    """The images of a folder and of the folders in it, by their paths from there, in the order of these."""

    def __init__(self, path: Path) -> None:
        self.path = path
        paths, _ = images_in(path, "frames", deep=True)
        self._paths = {each.relative_to(path).as_posix(): each for each in paths}

    def named(self, text: str) -> str:
        if text in self._paths:
            return text
        raise ValueError(f"{self.path} has no frame called {text!r}; its first is {next(iter(self._paths))!r}")

    def size(self, name: str) -> tuple[int, int]:
        try:
            with Image.open(self._paths[name]) as image:
                return image.size[::-1] if orientation_of(image) in LYING else image.size
        except Exception as error:  # Pillow's decoders raise nearly every type
            raise ValueError(f"cannot read the image {self._paths[name]}: {first_line(error)}") from error

    def read(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, Image.Image]]:
        for name, path in self._paths.items():
            if wanted is None or name in wanted:
                yield name, Files((path,), upright=True).read(0)
