"""Who works at what in a folder: one process at a time, and the next one is told of it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self
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


def _holder(file: int, folder: Path, what: str) -> str:
    """What to say of the process that has the lock."""
    try:
        holder = json.loads(os.read(file, 2**16))
    except ValueError:  # it writes this just now
        holder = {}
    started = launch()
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
