"""Locks between processes on one file system, which the kernel takes from the dead at once."""

from __future__ import annotations

import errno
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


def warn_of_no_locks(path: Path, error: OSError) -> None:
    warnings.warn(
        f"{path} cannot be locked ({error.strerror or error}): let no other command work in {path.parent} meanwhile",
        stacklevel=3,
    )
