"""What a command says while it works: lines on standard error, and in `log.txt` of the folder that it works in."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from nas.errors import SaveError, first_line, noted_command, without_secrets

LOG = "log.txt"
FAILED = "failed: "
"""How the last line of a log begins when an error ended the command."""
LONGEST = 100
"""Columns that a line has at most, but for names of files."""

_begun: set[Path] = set()
"""The folders whose log has the line with this command."""
_kept_in: dict[Path, Path] = {}
"""The folder whose log has what is said of another one."""


def begin_command() -> None:
    """From here on another command speaks: each log that it writes into gets a line with its date and its words."""
    _begun.clear()


@contextmanager
def failure_noted() -> Iterator[None]:
    """An error that ends the command is the last line of each log that it wrote into."""
    try:
        yield
    except Exception as error:
        for folder in _begun:
            with suppress(SaveError):
                _write(f"{FAILED}{without_secrets(first_line(error))}", folder / LOG)
        raise


@contextmanager
def logged_in(folder: Path, side: Path) -> Iterator[None]:
    """Inside, what is said of `side`, whose files will move into `folder`, is written into the log there."""
    _kept_in[side] = folder
    try:
        yield
    finally:
        del _kept_in[side]


def end_of_log(folder: Path, most: int) -> str:
    """The last bytes of the folder's log, at most so many; empty where there is none."""
    log = folder / LOG
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read().decode(errors="replace")


def tell(line: str, folder: Path | None = None, shown: bool = True) -> None:
    """Says a line on standard error, if it is to be `shown` there, and in the folder's log.

    Only the process that was started by hand writes into the log: the standard error of a worker is a file of its own.
    Raises SaveError when the log cannot be written.
    """
    if shown:
        print(line, file=sys.stderr, flush=True)
    if folder is not None:
        from multiprocessing import parent_process  # which every command would wait for

        if parent_process() is None:
            _write(line, _kept_in.get(folder, folder) / LOG)


@contextmanager
def timed(what: str, folder: Path | None = None) -> Iterator[None]:
    """Says that `what` starts, and afterwards how long it took."""
    since = time.monotonic()
    tell(f"{what}: started", folder)
    yield
    tell(f"{what}: {time.monotonic() - since:.1f} s", folder)


def clock(seconds: float) -> str:
    """`3:10`, or `2:03:10` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _write(line: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if path.parent not in _begun:
                line = f"{_torn_end(file)}{_command_line()}\n{line}"
            file.write(f"{line}\n".encode(errors="backslashreplace"))
    except OSError as error:
        raise SaveError(f"could not write {path}: {error.strerror or error}; the same command goes on") from error
    _begun.add(path.parent)


def _torn_end(file: BinaryIO) -> str:
    """The end that a killed process may have left the last line without."""
    size = file.seek(0, 2)
    file.seek(max(size - 1, 0))
    return "" if file.read(1) in (b"", b"\n") else "\n"


def _command_line() -> str:
    return f"== {datetime.now():%Y-%m-%d %H:%M:%S}  {' '.join(noted_command().splitlines())}"
