"""The journal of a search whose workers are several processes on one file system."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from nas.errors import SaveError
from nas.system.files import parse_object, sealed, whole_lines
from nas.system.locks import try_lock, wait_for_lock, warn_of_no_locks


class FileJournal:
    """Lines of JSON in `path`, and for each trial that somebody works at a lock that the kernel takes from the dead.

    A line that a kill or a full disk cut short counts as not written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._file: FileIO | None = None
        self._taken: dict[int, int] = {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as self._file:
            wait_for_lock(self._file.fileno(), self.path)
            yield
        self._file = None

    def read_new(self) -> list[dict]:
        assert self._file, "read inside `with lock()`"
        self._file.seek(self._read)
        text = self._file.read()
        lines, begun = whole_lines(text, self.path)
        self._read += len(text) - len(begun)
        if begun:
            self._file.truncate(self._read)
        try:
            return [parse_object(line, f"line {n}") for n, line in enumerate(lines, start=1)]
        except ValueError as error:
            raise ValueError(
                f"{self.path} must have a JSON object in each line: {error}. --overwrite starts the search again"
            ) from None

    def add(self, line: dict) -> None:
        assert self._file, "write inside `with lock()`"
        text = sealed(json.dumps(line, ensure_ascii=False).encode()) + b"\n"
        if self._file.write(text) < len(text):
            raise SaveError(f"could not write all of a line to {self.path}: is the disk full? The same command goes on")
        os.fsync(self._file.fileno())
        self._read += len(text)

    def acquire(self, number: int) -> bool:
        path = self.path.with_suffix("") / f"{number}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            taken = try_lock(lock)
        except OSError as error:
            warn_of_no_locks(path, error)
            taken = True
        if taken:
            self._taken[number] = lock
        else:
            os.close(lock)
        return taken

    def release(self, number: int) -> None:
        os.close(self._taken.pop(number))
