"""MATLAB's files of the formats 5 to 7.2, read strictly: nothing in them is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from nas.data.sets.mat_check import check_mat
from nas.errors import first_line


def read_mat(file: Path, *names: str, what: str = "a MATLAB file") -> dict[str, np.ndarray]:
    """The entries `names` of `file` as far as it has them; there must be one at least. `what` says what it must be.

    Raises ValueError naming the file.
    """
    try:
        content = file.read_bytes()
        there = check_mat(content, names)
        found = loadmat(BytesIO(content), variable_names=[name for name in names if name in there])
    except NotImplementedError as error:
        raise ValueError(f'{file} must be {what} of format 7 or lower; save it again with "-v7"') from error
    except Exception as error:  # for a damaged file SciPy raises nearly every type
        raise ValueError(f"{file} must be {what}, and cannot be read as such: {first_line(error)}") from error
    if not any(name in found for name in names):
        raise ValueError(f"{file} must have the entry {' or '.join(names)}; it has {ascii(there)[1:-1] or 'none'}")
    return {name: found[name] for name in names if name in found}


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
