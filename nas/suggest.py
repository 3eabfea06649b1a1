"""Near misses for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_misses(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'kdas'?` when something known is close to `name`, else nothing."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
