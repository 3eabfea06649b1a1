"""MATLAB's files of the formats 5 to 7.2, read strictly: nothing in them is run."""

from __future__ import annotations

import math
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any

from nas.errors import first_line
from nas.system.files import read_bytes
from nas.system.matlab_layout import check_layout
from nas.system.memory import check_memory

NUM_BYTES = {"logical": 1, "single": 4} | {f"{u}int{bits}": bits // 8 for u in ("", "u") for bits in (8, 16, 32)}
"""Of a number, by the names of MATLAB's classes; of all others 8."""


def read_matlab(path: Path, names: Collection[str], what: str = "a MATLAB file") -> dict[str, Any]:
    """What the file has under `names`, arrays of scipy's; None under its other names. `what` says what it must be.

    Raises ValueError naming the file when it cannot be read, or `names` in it do not fit into memory.
    """
    from scipy.io import loadmat, whosmat

    content = read_bytes(path)
    try:
        check_layout(content, names)
        sizes = {name: math.prod(shape) * NUM_BYTES.get(kind, 8) for name, shape, kind in whosmat(BytesIO(content))}
        check_memory(path, (size for name, size in sizes.items() if name in names))
        found = loadmat(BytesIO(content), variable_names=[name for name in names if name in sizes])
    except NotImplementedError:
        raise ValueError(f"{path} is of MATLAB's version 7.3: save it with -v7") from None
    except Exception as error:  # for a damaged file scipy raises nearly every type
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} must be {what}, and cannot be read as such: {first_line(error)}") from error
    return dict.fromkeys(sizes) | {name: value for name, value in found.items() if name in names}
