"""Locks between processes on one file system, which the kernel takes from the dead at once."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment] # the module's type, elsewhere

TAKEN = (errno.EAGAIN, errno.EACCES)
NO_LOCKS = "this system has no locks of files (fcntl)"


def check_can_share() -> None:
    """Raises ValueError on a system where several processes cannot share work."""
    if fcntl is None:
        raise ValueError(f"{NO_LOCKS}, which several workers need: leave --workers out, or use Linux, macOS or WSL")


def try_lock(file: int, shared: bool = False) -> bool:
    """Locks an open file until it is closed; False when another has it. Several may have a `shared` lock.

    Raises OSError where the system, or the file system, has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, NO_LOCKS)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    return True


def wait_for_lock(file: int, path: Path) -> None:
    """Locks an open file until it is closed, as soon as no other has it. Where that cannot be, a warning says so."""
    try:
        if not try_lock(file):
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        warn_of_no_locks(path, error)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Of several processes on one file system, one at a time is inside; `path` is the lock's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        wait_for_lock(file.fileno(), path)
        yield


@contextmanager
def held(path: Path, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds the lock `path` inside, alone or with others that share it; the file goes with one who held it alone.

    Gives whether it is held, which only without `wait` it may not be. The kernel takes the lock from a killed process;
    where there are no locks, a warning says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            taken = try_lock(file, shared)
            if not taken and wait:
                fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
                taken = True
        except OSError as error:
            warn_of_no_locks(path, error)
            break
        if not taken:
            os.close(file)
            yield False
            return
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            break
        os.close(file)  # its last holder removed it meanwhile
    try:
        yield True
    finally:
        if not shared:
            path.unlink(missing_ok=True)
        os.close(file)


def warn_of_no_locks(path: Path, error: OSError) -> None:
    warnings.warn(
        f"{path} cannot be locked ({error.strerror or error}): let no other command work in {path.parent} meanwhile",
        stacklevel=3,
    )
