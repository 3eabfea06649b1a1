"""Who works at what in a folder: one process at a time, and the next one is told of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from nas.errors import noted_command
from nas.system.launch import launch
from nas.system.locks import open_lock, try_lock, warn_of_no_locks

HELD: WeakValueDictionary[Path, AtWork] = WeakValueDictionary()
"""What this process is at, by the lock's file: it may begin again what it was interrupted in."""


class AtWork:
    """This process does `what` in `folder`, and no other one does, until it is released or dies.

    Several may, each of which is `shared`. Raises ValueError naming the process that is at work. Where there are no
    locks, a warning says so. Readers need none of this.
    """

    def __init__(self, folder: Path, what: str, shared: bool = False) -> None:
        self.path = folder / f".{what}.lock"
        self._file: int | None = None
        self._made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        file, is_locked = open_lock(self.path, shared)
        try:
            if is_locked:
                _write_holder(file)
                self._file = file
                HELD[self.path.resolve()] = self
            elif is_locked is False and self.path.resolve() not in HELD:
                raise ValueError(_holder(file, folder, what))
        except OSError as error:
            warn_of_no_locks(self.path, error)
        finally:
            if self._file is None:
                os.close(file)

    def release(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            HELD.pop(self.path.resolve(), None)
            with suppress(OSError):
                if try_lock(file):  # nobody shares it
                    self.path.unlink(missing_ok=True)
                    for folder in self._made:
                        folder.rmdir()  # which it can be only when nothing was written
            os.close(file)

    __del__ = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def workers(folder: Path, what: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Who does which of `what` in `folder` just now, as far as they have noted it: `pid`, `host`, `command`, `since`.
    Nothing is written."""
    notes = {each: folder / f".{each}.lock" for each in what}
    return {each: note for each, path in notes.items() if (note := _note_of_living(path)) is not None}


def _note_of_living(path: Path) -> dict[str, Any] | None:
    """What a lock's holder has noted; None where nobody holds it."""
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            note = _read_note(file)
            if (note.get("host") == socket.gethostname() and _lives(note)) or not try_lock(file):
                return note
        finally:
            os.close(file)
    return None


def _lives(note: Mapping[str, Any]) -> bool:
    """Whether the process on this machine that wrote the note is there: a later one may have its number. Whoever is
    asked this way is not kept from a lock, not even for a moment."""
    import psutil  # which only those who ask wait for

    with suppress(psutil.Error, KeyError, TypeError, ValueError):
        return psutil.Process(note["pid"]).create_time() < datetime.fromisoformat(note["since"]).timestamp() + 1
    return False


def _read_note(file: int) -> dict[str, Any]:
    """What the holder of an open lock has noted; empty while it writes this."""
    try:
        note = json.loads(os.read(file, 2**16))
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _holder(file: int, folder: Path, what: str) -> str:
    """What to say of the process that has the lock."""
    holder, started = _read_note(file), launch()
    sharing = f", or --machine.devices for processes of {started.by} that share each step" if started else ""
    return (
        f"another process does this ({what}) in {folder}: `{holder.get('command', 'unknown')}`, process "
        f"{holder.get('pid')} on {holder.get('host')} since {holder.get('since')}. Wait for its end, stop it, or give "
        f"--out another folder{sharing}"
    )


def _write_holder(file: int) -> None:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": noted_command(), "since": since}
    os.ftruncate(file, 0)
    os.write(file, json.dumps(holder).encode())
