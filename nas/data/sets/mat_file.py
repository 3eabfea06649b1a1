"""What data sets take out of MATLAB's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nas.system.matlab import read_matlab


def read_mat(file: Path, *names: str) -> dict[str, np.ndarray]:
    """The entries `names` of `file` as far as it has them; there must be one at least.

    Raises ValueError naming the file.
    """
    content = read_matlab(file, names)
    if not any(name in content for name in names):
        there = ascii([*content])[1:-1] or "none"
        raise ValueError(f"{file} must have the entry {' or '.join(names)}; it has {there}")
    return {name: content[name] for name in names if name in content}


@contextmanager
def laid_out(file: Path, name: str, how: str) -> Iterator[None]:
    """What goes wrong while the entry `name` is taken apart is the file's fault: ValueError that says how it must be
    laid out."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f'{file}: the entry "{name}" must be {how}; taking it apart fails: {error}') from error


def text_in(cell: object) -> str:
    """The text that a cell holds, in however many arrays it is wrapped, in one line."""
    while isinstance(cell, np.ndarray) and cell.size == 1:
        cell = cell.item()
    return " ".join((cell if isinstance(cell, str) else "".join(np.ravel(np.asarray(cell)).astype(str))).split())
