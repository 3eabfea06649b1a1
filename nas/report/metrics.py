"""`metrics.json`, as every command that reads it takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.report.numbers import MEASURED, check_number, percent
from nas.system.files import blamed_on, check_format, digest, read_object

FORMAT = 1
TEXTS = ("name", "role", "queries")
VERIFIED = ("num_right", "num_wrong", "eer", "eer_threshold")
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


def verification_lines(metrics: Mapping[str, Any]) -> list[str]:
    """A line for each row whose pairs were verified: how often two images are told apart or taken for one rightly."""
    lines = []
    for row in metrics.get("rows") or []:
        if not (verified := row.get("verification")):
            continue
        said = [f"{percent(point['tpr'])} % at FPR {point['fpr']:g}" for point in verified["points"] if has_rate(point)]
        unknown = [f"{point['fpr']:g}" for point in verified["points"] if not has_rate(point)]
        rates = [f"TPR {', '.join(said)}"] if said else []
        if unknown:
            rates.append(f"{verified['num_wrong']:,} wrong pairs are too few for FPR {', '.join(unknown)}")
        lines.append(f"verification, {row.get('name')}: " + "; ".join([f"EER {percent(verified['eer'])} %", *rates]))
    return lines


def has_rate(point: Mapping[str, Any]) -> bool:
    """Whether a test split has enough wrong pairs for a point of its `verification`."""
    return point["tpr"] is not None and point["threshold"] is not None


def thresholds_of(metrics: Mapping[str, Any], role: str) -> tuple[tuple[tuple[float, float], ...], float | None]:
    """Pairs of a false positive rate and its threshold of the row `role`, as far as they were measured, and the
    threshold of equal errors; as a network's card has them. Distances are those of the protocol."""
    for row in metrics.get("rows") or []:
        if row.get("role") == role and (verified := row.get("verification")):
            points = [(point["fpr"], point["threshold"]) for point in verified["points"] if has_rate(point)]
            return tuple(points), verified["eer_threshold"]
    return (), None


def _check_verification(verified: object) -> None:
    """Raises ValueError for anything but what `Verification.summary` gives."""
    what = "verification of a row"
    if not isinstance(verified, Mapping) or not isinstance(verified.get("points"), list):
        raise ValueError(f"{what} must be an object with a list of points")
    curves = verified.get("roc")
    if not isinstance(curves, Mapping) or not all(isinstance(curves.get(name), list) for name in ("fpr", "tpr")):
        raise ValueError(f"{what} must have a roc of two lists, fpr and tpr")
    if len(curves["fpr"]) != len(curves["tpr"]):
        raise ValueError(f"fpr and tpr of a {what} must be equally long")
    numbers = [*(verified.get(name) for name in VERIFIED), *curves["fpr"], *curves["tpr"]]
    for point in verified["points"]:
        if not isinstance(point, Mapping) or not {"fpr", "tpr", "threshold"} <= point.keys():
            raise ValueError(f"a point of a {what} must be an object of fpr, tpr and threshold")
        check_number(point["tpr"], f"tpr of a {what}")
        check_number(point["threshold"], f"threshold of a {what}")
        numbers.append(point["fpr"])
    for value in numbers:
        if value is None:
            raise ValueError(f"{what} must have all of its numbers, and has null")
        check_number(value, f"a number of a {what}")


def _check_row(row: Mapping[str, Any]) -> None:
    if row.get("verification") is not None:
        _check_verification(row["verification"])
    for key, value in row.items():
        if value is None:
            continue
        if key in TEXTS and not isinstance(value, str):
            raise ValueError(f"{key} of a row must be a text, not {value!r}")
        if key in NUMBERS:
            check_number(value, f"{key} of a row")
