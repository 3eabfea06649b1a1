"""`metrics.json`, as every command that reads it takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.report.numbers import MEASURED
from nas.system.files import blamed_on, check_format, read_object

FORMAT = 1
TEXTS = ("name", "role", "queries")
NUMBERS = ("repeats", *MEASURED)
"""What a row has of these is a text or a number, or null for none; a task of one's own may write others beside them."""


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
        for row in rows:
            _check_row(row)
        if not isinstance(metrics.get("data", ""), str):
            raise ValueError(f"data must be a text, not {metrics['data']!r}")
        if not isinstance(curves, Mapping) or not all(isinstance(curve, list) for curve in curves.values()):
            raise ValueError("cmc must be an object of lists")
        if not isinstance(protocol, Mapping):
            raise ValueError("protocol must be an object")
    return metrics


def searches_frames(metrics: Mapping[str, Any]) -> bool:
    """Whether they are of person search, where persons are found in whole frames, and not of crops."""
    return "num_frames" in (metrics.get("protocol") or {})


def _check_row(row: Mapping[str, Any]) -> None:
    for key, value in row.items():
        if value is None:
            continue
        if key in TEXTS and not isinstance(value, str):
            raise ValueError(f"{key} of a row must be a text, not {value!r}")
        if key in NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{key} of a row must be a number, not {value!r}")
