"""Errors that a user can fix, how the program reports them, and near misses for the messages."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import TypeVar

T = TypeVar("T")

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would steer a terminal, in a message that quotes a stranger's file or another library."""
PASSWORD = re.compile(r"(\w[\w+.-]*://[^\s:/@]*):(?:\S*|(?!\d+(?:[/?\s]|$))[^@\n]*)@")
"""With blanks in it, too, but not a port that is followed by an `@` somewhere in the line."""
SECRET = re.compile(r"((?:password|passwd|pwd|passphrase|secret|token|api[_-]?key)=)[^\s&;]*", re.IGNORECASE)

TOOLKIT = tuple(Path(__file__).parents[1] / room for room in ("nas", "search_spaces", "students", "teachers"))
PYTHON = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
"""Where code lies that is not the user's own; a library's is in `site-packages`. Recipes are their authors'."""
BUG = (
    "this is a bug in the toolkit, or in a class of your own if the recipe has one: "
    "please report it with the command and the lines below"
)


class SaveError(RuntimeError):
    """A file could not be written; what stood there before still stands."""


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class PeerGone(RuntimeError):
    """Another of the processes that share the work has ended, or does not answer."""


OUT_OF_MEMORY = (
    "there is not enough memory: lower --images.height and --images.width, the batch (sampling.num-ids, images-per-id "
    "or batch-size), or the network's channels or width"
)
PLUGIN = "--plugin"
"""The flag that names a file with classes of the user's own."""
PEER_GONE = (
    "another of the processes that share the work has ended, or does not answer: fix what it reported, if it did; the "
    "same command then resumes from the last checkpoint"
)


def is_disk_full(error: OSError) -> bool:
    """Whether the disk has no room, or the user's share of it."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, or torch on a CPU or GPU could not have the memory it asked for."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in said for word in words)


def is_peer_gone(error: BaseException) -> bool:
    """Whether torch's collectives (gloo, NCCL) miss another process of the same training."""
    said = str(error).lower()
    words = (
        "connection closed by peer",
        "connection reset by peer",
        "broken pipe",
        "remote process exited",
        "communicator was aborted",
        "timed out waiting",
        "waiting for clients",
    )
    return isinstance(error, RuntimeError) and any(word in said for word in words)


def first_line(error: BaseException) -> str:
    """What a library says of an error in its first line, without terminal codes; its type where it says nothing."""
    said = [line for line in CONTROL.sub("", str(error)).splitlines() if line.strip()]
    return said[0].strip() if said else type(error).__name__


def quoted(names: Iterable[object], most: int = 10) -> str:
    """The first names that a stranger's file has, in quotes and none too long; `nothing` where there are none."""
    listed = [*names]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(SHORT.repr(name) for name in listed[:most]) + more or "nothing"


def near_misses(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'kdas'?)` when something known is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def named(what: str, name: str, table: Mapping[str, T]) -> T:
    """What `table` has under `name`. Raises ValueError with near misses where it has nothing."""
    if name not in table:
        raise ValueError(f"no {what} is named {name!r}{near_misses(name, table)}; there are {', '.join(table)}")
    return table[name]


def without_secrets(text: str) -> str:
    """`text` with `***` for each password in it: in an address (`scheme://user:password@host`), and behind a name that
    says so (`?password=`, `PGPASSWORD=`)."""
    return SECRET.sub(r"\1***", PASSWORD.sub(r"\1:***@", text))


def noted_command() -> str:
    """The command of this process, as files may have it."""
    return shlex.join(["nas", *map(without_secrets, sys.argv[1:])])


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number
        """What shells, SLURM and systemd take for the end by this signal: 143 for SIGTERM, 130 for SIGINT."""


@contextmanager
def heed_signals() -> Iterator[None]:
    """Inside, SIGINT (Ctrl-C), SIGTERM (docker, systemd, SLURM) and SIGHUP raise Stopped; a second one ends at once.

    What is ignored, as SIGHUP below nohup, stays ignored. Only the main thread of a process hears signals.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]

    def stop(number: int, _: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def exit_status(work: Callable[[], int | None]) -> int:
    """Does `work` as a process of the program: its status, or what the error that ended it stands for.

    An error that a user can mend is one line on standard error, and status 2; so is what the surroundings refuse (a
    file that cannot be read, a full disk). Warnings are lines there, too, each said once. A signal ends it with 128 and
    its number.
    What goes wrong in a file of the user's own, as a recipe's, is that file's: a line names it, behind the part of the
    traceback that is in it. Any other error is the toolkit's own: a whole traceback, and status 1.
    """
    open_streams()
    try:
        with warnings.catch_warnings(), heed_signals():
            say_once = cache(_say)
            warnings.showwarning = lambda message, *_: say_once(f"warning: {message}")
            status = work() or 0
            sys.stdout.flush()
            return status
    except (ValueError, SaveError, NonFiniteLoss, PeerGone) as error:
        own = users_place(error) if isinstance(error, ValueError) else ""
        _say(f"{own}: {' '.join(str(error).split())}" if own else str(error))
        return 2
    except BrokenPipeError:
        _drop_output()  # who reads has gone, as `| head` does
        return 141
    except KeyboardInterrupt as stopped:
        _say("stopped; the same command resumes from the last checkpoint")
        return stopped.status if isinstance(stopped, Stopped) else 130
    except OSError as error:
        _say(_of_surroundings(error))
        _drop_output()
        return 2
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            _say(f"{OUT_OF_MEMORY} ({first_line(error)})")
            return 2
        if is_peer_gone(error):
            _say(PEER_GONE)
            return 2
        if own := users_place(error):
            _say(f"{own}: {_in_short(error)}", behind=users_traceback(error))
            return 2
        if isinstance(error, Exception):
            _say(f"{_in_short(error)}: {BUG}")
        raise


def _say(line: str, behind: str = "") -> None:
    """One line on standard error, `behind` other lines."""
    said = without_secrets(f"{behind}\n" * bool(behind) + f"nas: {CONTROL.sub('', line)}")
    with suppress(OSError):  # the terminal may be gone
        print(said, file=sys.stderr)


def _of_surroundings(error: OSError) -> str:
    """The line for what the system refused."""
    reason = error.strerror or first_line(error)
    if is_disk_full(error):
        reason = "the disk is full, or has no room for more files"
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    what = f"{names}: {reason}" if names else reason
    return f"{what}. Fix that, or give another file or folder; the same command then resumes"


def open_streams() -> None:
    """Opens those of standard input, output and error that are closed: else the next files would take their places."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(nothing, mode, closefd=False))  # noqa: SIM115 - open to the end of the process


def _drop_output() -> None:
    """What standard output does not take is not to be written at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def users_place(error: BaseException) -> str:
    """`FILE, line N` in a file of the user's own: where it raised `error`, or called what did. Nothing where no such
    file takes part."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    own = [place for place in places if _is_users(place[0])]
    return f"{os.path.relpath(own[-1][0])}, line {own[-1][1]}" if own else ""


def users_traceback(error: BaseException) -> str:
    """The traceback of `error` from where a file of the user's own begins, without the toolkit's frames."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part:
        first = next((i for i, frame in enumerate(part.stack) if _is_users(frame.filename)), len(part.stack))
        shown = [
            frame
            for frame in part.stack[first:]
            if not frame.filename.startswith("<") and not _is_in(frame.filename, TOOLKIT)
        ]
        part.stack = traceback.StackSummary.from_list(shown)
        part = part.__cause__ or part.__context__
    return CONTROL.sub("", "".join(whole.format())).rstrip()


def _is_users(file: str) -> bool:
    """Whether code is the user's own: neither the toolkit's nor a library's, nor generated (`<string>`)."""
    is_library = _is_in(file, PYTHON) or {"site-packages", "dist-packages"} & {*Path(file).parts}
    return bool(file) and not file.startswith("<") and not is_library and not _is_in(file, TOOLKIT)


def _is_in(file: str, folders: Iterable[Path]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)


def _in_short(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit: {error.code}), which no recipe and no class of yours may do"
    said = error.msg if isinstance(error, SyntaxError) else first_line(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"
