"""MATLAB's files, up to version 7."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nas.errors import first_line
from nas.system.memory import check_memory

NUM_BYTES = {"logical": 1, "single": 4} | {f"{u}int{bits}": bits // 8 for u in ("", "u") for bits in (8, 16, 32)}
"""Of a number, by the names of MATLAB's classes; of all others 8."""


def read_matlab(path: Path, names: Collection[str]) -> dict[str, Any]:
    """What the file has under `names`, arrays of scipy's; None under its other names.

    Raises ValueError naming the file when it cannot be read, or `names` in it do not fit into memory.
    """
    from scipy.io import loadmat, whosmat

    try:
        sizes = {name: math.prod(shape) * NUM_BYTES.get(kind, 8) for name, shape, kind in whosmat(path)}
    except NotImplementedError:
        raise ValueError(f"{path} is of MATLAB's version 7.3: save it with -v7") from None
    except Exception as error:  # scipy's reader raises whatever a damaged file makes it stumble over
        raise ValueError(f"{path} must be a MATLAB file: {first_line(error)}") from error
    check_memory(path, (size for name, size in sizes.items() if name in names))
    try:
        found = loadmat(path, variable_names=[*names])
    except Exception as error:
        raise ValueError(f"{path} must be a MATLAB file that is whole: {first_line(error)}") from error
    return dict.fromkeys(sizes) | {name: value for name, value in found.items() if name in names}
