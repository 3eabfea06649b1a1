"""`metrics.json`, as every command that reads it takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.system.files import blamed_on, check_format, read_object

FORMAT = 1


def read_metrics(path: Path) -> dict[str, Any]:
    """Rows (objects), protocol (an object) and CMC curves (lists by name) of an evaluation, as far as they are there.

    Raises ValueError naming the file when it is missing, of a later version, or not what `nas evaluate` writes.
    """
    metrics = read_object(path)
    with blamed_on(path):
        check_format(metrics, FORMAT, path)
        rows, curves, protocol = metrics.get("rows") or [], metrics.get("cmc") or {}, metrics.get("protocol") or {}
        if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
            raise ValueError("rows must be a list of objects")
        if not isinstance(curves, Mapping) or not all(isinstance(curve, list) for curve in curves.values()):
            raise ValueError("cmc must be an object of lists")
        if not isinstance(protocol, Mapping):
            raise ValueError("protocol must be an object")
    return metrics
