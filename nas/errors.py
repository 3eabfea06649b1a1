"""What goes wrong in ways that a user can mend, how the program says it, and near misses for the messages."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would steer a terminal, in a message that quotes a stranger's file or another library."""


class SaveError(RuntimeError):
    """A file could not be written; what stood there before still stands."""


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


OUT_OF_MEMORY = (
    "the memory is not enough: lower --images.height and --images.width, the batch (sampling.num-ids, images-per-id or "
    "batch-size), or the network's channels or width"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, or torch on a CPU or GPU could not have the memory it asked for."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in said for word in words)


def first_line(error: BaseException) -> str:
    """What a library says of an error in its first line, without terminal codes; its type where it says nothing."""
    said = [line for line in CONTROL.sub("", str(error)).splitlines() if line.strip()]
    return said[0].strip() if said else type(error).__name__


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

    An error that a user can mend is one line on standard error, and status 2. Warnings are lines there, too.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"nas: warning: {message}", file=sys.stderr)
            status = work() or 0
            sys.stdout.flush()
            return status
    except (ValueError, SaveError, NonFiniteLoss) as error:
        print(f"nas: {CONTROL.sub('', str(error))}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"nas: {OUT_OF_MEMORY} ({first_line(error)})", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who reads has gone, as `| head` does; what is still buffered is not to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("nas: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
