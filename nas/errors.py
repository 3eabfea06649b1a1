"""What goes wrong in ways that a user can mend, how the program says it, and near misses for the messages."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import TypeVar

T = TypeVar("T")

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 120

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would steer a terminal, in a message that quotes a stranger's file or another library."""

TOOLKIT = tuple(Path(__file__).parents[1] / room for room in ("nas", "search_spaces", "students", "teachers"))
PYTHON = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
"""Where code lies that is not the user's own; a library's is in `site-packages`. Recipes are their authors'."""
BUG = (
    "no input should lead to this. It is a fault of the toolkit, or of a class of your own if the recipe has one: "
    "report it with the command and the lines below"
)


class SaveError(RuntimeError):
    """A file could not be written; what stood there before still stands."""


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


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
    """`; did you mean 'kdas'?` when something known is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def named(what: str, name: str, table: Mapping[str, T]) -> T:
    """What `table` has under `name`. Raises ValueError with near misses where it has nothing."""
    if name not in table:
        raise ValueError(f"no {what} is named {name!r}{near_misses(name, table)}; there are {', '.join(table)}")
    return table[name]


def exit_status(work: Callable[[], int | None]) -> int:
    """Does `work` as a process of the program: its status, or what the error that ended it stands for.

    An error that a user can mend is one line on standard error, and status 2. Warnings are lines there, too. What goes
    wrong in a file of the user's own, as a recipe's, is that file's: a line names it, behind the part of the traceback
    that is in it. Any other error is the toolkit's own: a whole traceback, and status 1.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"nas: warning: {message}", file=sys.stderr)
            status = work() or 0
            sys.stdout.flush()
            return status
    except (ValueError, SaveError, NonFiniteLoss) as error:
        said, own = CONTROL.sub("", str(error)), users_place(error) if isinstance(error, ValueError) else ""
        print(f"nas: {own}: {' '.join(said.split())}" if own else f"nas: {said}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who reads has gone, as `| head` does; what is still buffered is not to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("nas: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (Exception, SystemExit) as error:
        if own := users_place(error):
            print(f"{users_traceback(error)}\nnas: {own}: {_in_short(error)}", file=sys.stderr)
            return 2
        if isinstance(error, Exception) and not isinstance(error, OSError | MemoryError):
            print(f"nas: {_in_short(error)}: {BUG}", file=sys.stderr)
        raise


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
