"""What goes wrong in ways that a user can mend, and near misses for the messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class SaveError(RuntimeError):
    """A file could not be written; what stood there before still stands."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'kdas'?` when something known is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""
