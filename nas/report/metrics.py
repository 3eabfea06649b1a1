"""`metrics.json`, as every command that reads it takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.report.numbers import MEASURED, check_number
from nas.system.files import blamed_on, check_format, digest, read_object

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
        if odd := [key for key, value in protocol.items() if isinstance(value, Mapping | list)]:
            raise ValueError(f"{odd[0]} of the protocol must be a number or a text, not {protocol[odd[0]]!r}")
        if not isinstance(metrics.get("measured", {}), Mapping):
            raise ValueError("measured must be an object")
    return metrics


def outdated(folder: Path, metrics: Mapping[str, Any]) -> str:
    """A line on networks in the folder that are others than were measured, as after training one again; empty where all
    are the same, and for metrics of earlier versions, which do not say what they measured."""
    changed = [
        name
        for name, checksum in metrics.get("measured", {}).items()
        if Path(name).name == name and (folder / name).is_file() and digest(folder / name) != checksum
    ]
    if not changed:
        return ""
    return (
        f"the results in {folder} are of an earlier {' and '.join(changed)}: `nas evaluate {folder}` measures what is "
        "there now"
    )


def searches_frames(metrics: Mapping[str, Any]) -> bool:
    """Whether they are of person search, where persons are found in whole frames, and not of crops."""
    return "num_frames" in (metrics.get("protocol") or {})


def _check_row(row: Mapping[str, Any]) -> None:
    for key, value in row.items():
        if value is None:
            continue
        if key in TEXTS and not isinstance(value, str):
            raise ValueError(f"{key} of a row must be a text, not {value!r}")
        if key in NUMBERS:
            check_number(value, f"{key} of a row")
