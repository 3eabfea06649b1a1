"""What the milliseconds of a table hold for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EAGER = {"runtime": "torch, eager"}
"""How results of earlier versions were timed, which do not say it."""


def conditions_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The different conditions that rows with milliseconds were timed under, each a line; none where no row has any."""
    timed = [row for row in rows if any(row.get(key) is not None for key in row if key.startswith("ms_per_image"))]
    return list(dict.fromkeys(in_words(row.get("timing") or EAGER) for row in timed))


def conditions_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """`conditions_of` in one line, for below a table; empty where no row has milliseconds."""
    lines = conditions_of(rows)
    several = f"not all alike, compare them with care: {'; or '.join(lines)}"
    return f"Milliseconds are medians for an image: {lines[0] if len(lines) == 1 else several}." if lines else ""


def in_words(timing: Mapping[str, Any]) -> str:
    """The conditions of a time, as `metrics.json` has them."""
    threads = timing.get("threads")
    parts = [
        str(timing.get("runtime", "unknown runtime")),
        str(timing["device"]) if "device" in timing else "",
        f"{threads} thread{'s' * (threads != 1)}" if threads else "",
        str(timing.get("precision") or ""),
        f"{timing['height']}x{timing['width']}" if "height" in timing and "width" in timing else "",
    ]
    return ", ".join(filter(None, parts))
