"""What a terminal shows while images are decoded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def decoding(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar while `what` is decoded; it is told how many of how many are done."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"decoding {what}")
        yield lambda done, total: bar.update(task, completed=done, total=total)
