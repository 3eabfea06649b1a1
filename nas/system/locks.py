"""Locks between processes on one file system, which the kernel takes from the dead at once.

On a network file system the kernel may know only its own machine's locks. What would be damaged there is locked by a
file that one process creates, and others take over from one that is silent (`locked`); `held` and `AtWork`, which keep
users from giving two commands for one folder, are worth there what the mount makes of them.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from nas.system.background import in_background
from nas.system.mounts import CREATES, file_system_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment] # the module's type, elsewhere

TAKEN = (errno.EAGAIN, errno.EACCES)
BEAT_S = 5.0
"""Between signs of life of who holds a lock that is a file; Optuna's locks take one over after 30 s without."""
NO_LOCKS = "this system has no locks of files (fcntl)"


def check_can_share() -> None:
    """Raises ValueError on a system where several processes cannot share work."""
    if fcntl is None:
        raise ValueError(f"{NO_LOCKS}, which several workers need: leave --workers out, or use Linux, macOS or WSL")


def try_lock(file: int, shared: bool = False, wait: bool = False) -> bool:
    """Locks an open file until it is closed; False when another has it, unless this is to `wait`.

    Several may have a `shared` lock. Raises OSError where the system, or the file system, has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, NO_LOCKS)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in TAKEN and not wait:
            return False
        raise
    return True


def wait_for_lock(file: int, path: Path) -> None:
    """Locks an open file until it is closed, as soon as no other has it. Where that cannot be, a warning says so."""
    try:
        try_lock(file, wait=True)
    except OSError as error:
        warn_of_no_locks(path, error)


def open_lock(path: Path, shared: bool = False, wait: bool = False) -> tuple[int, bool | None]:
    """The file `path`, open, and whether it is locked until it is closed; None where there are no locks, as a warning
    says. One who holds it alone may remove it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            is_locked = try_lock(file, shared, wait)
        except OSError as error:
            warn_of_no_locks(path, error)
            return file, None
        if not is_locked or _is_at(path, file):
            return file, is_locked
        os.close(file)  # its last holder has removed it meanwhile


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Of several processes on one file system, one at a time is inside; `path` is the lock's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if file_system_of(path) in CREATES:
        with _created(path):
            yield
        return
    with path.open("w") as file:
        wait_for_lock(file.fileno(), path)
        yield


@contextmanager
def _created(path: Path) -> Iterator[None]:
    """Optuna's lock for network file systems, held as long as a thread shows signs of life."""
    from optuna.storages.journal import JournalFileOpenLock

    lock, file = JournalFileOpenLock(str(path)), Path(f"{path}.lock")

    def beat(over: Event) -> None:
        while not over.wait(BEAT_S):
            with suppress(OSError):
                os.utime(file)

    lock.acquire()
    try:
        with in_background(beat):
            yield
    finally:
        with suppress(RuntimeError):  # this process stood still, and another one took the lock over
            lock.release()


@contextmanager
def held(path: Path, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds the lock `path` inside, alone or with others that share it; the file goes with one who held it alone.

    Gives whether it is held, which only without `wait` it may not be. The kernel takes the lock from a killed process;
    where there are no locks, a warning says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, is_locked = open_lock(path, shared, wait)
    taken = is_locked is not False
    try:
        yield taken
    finally:
        if taken and not shared:
            path.unlink(missing_ok=True)
        os.close(file)


def warn_of_no_locks(path: Path, error: OSError) -> None:
    warnings.warn(
        f"{path} cannot be locked ({error.strerror or error}): let no other command work in {path.parent} meanwhile",
        stacklevel=3,
    )


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
