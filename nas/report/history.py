"""`*.history.jsonl`, as every command that reads one takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.report.numbers import check_number
from nas.system.files import blamed_on, read_lines

NUMBERS = ("epoch", "epochs", "score", "cost", "seconds", "best", "retrained", "mAP", "rank1", "temperature", "lr")
TEXTS = ("stopped", "predicted")
"""What a line has of these is a number or a text, or null for none."""


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a stage, an epoch or a trial each; none where there is no file.

    Raises ValueError naming the file, and the line and key that no stage writes.
    """
    lines = read_lines(path) if path.exists() else []
    with blamed_on(path):
        for number, line in enumerate(lines, start=1):
            where = f"of line {number}"
            if line.get("epoch") is None:
                raise ValueError(f"line {number} must have an epoch, and has {', '.join([*line][:10]) or 'nothing'}")
            for key in NUMBERS:
                check_number(line.get(key), f"{key} {where}")
            for key in TEXTS:
                if not isinstance(line.get(key, ""), str | None):
                    raise ValueError(f"{key} {where} must be a text, not {line[key]!r}")
    return lines
