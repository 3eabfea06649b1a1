"""What a search has found, entry by entry, as its files say: nothing is imported that trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.report.numbers import check_number
from nas.system.files import blamed_on, check_format, read_object
from nas.system.run_config import read_config
from search_spaces.architecture import Architecture

FORMAT = 1
BEST, FOUND = "architecture.json", "architectures.json"
"""The files that a search ends with."""
SIDES = ("height", "width", "short_side", "long_side")
"""What the images of a recipe of any task call their size."""
SHOWN = 10
"""Entries of the ranked list that `nas show` shows, unless asked for more."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One architecture of the ranked list or of the front."""

    name: str
    """As `--entry` takes it: `1` is the best of the ranked list, `front:1` the cheapest of the front."""
    architecture: Architecture
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What a joint search decided beside it: encoded values of the recipe's fields."""
    score: float | None = None
    cost: float | None = None
    further: Mapping[str, float] = field(default_factory=dict)
    """What else the search weighed, by its name in `metrics.json`: shares."""
    student: Mapping[str, int] | None = None
    """`parameters` and `multiply_adds` of the student that it is retrained as, without classifier, where they are
    known."""

    @property
    def folder_name(self) -> str:
        return f"entry-{self.name.replace(':', '-')}"


@dataclass(frozen=True, kw_only=True)
class Entries:
    """A search's result, or what there is of it."""

    ranked: Sequence[Entry]
    front: Sequence[Entry] = ()
    value: str = ""
    """What the scores are: `mAP` (a share) or `log weight`."""
    cost: str = ""
    """What the costs are, of the networks as they were searched: `multiply_adds` or `latency_ms`."""
    notes: Mapping[str, object] = field(default_factory=dict)
    finished: bool = True


def has_ended(folder: Path) -> bool:
    """Whether the search in a run's folder has left its result."""
    return (folder / BEST).exists() and (folder / FOUND).exists()


def read_entries(folder: Path) -> Entries:
    """What the search has found. Raises ValueError when it has not ended, and for a damaged file."""
    written = read_config(folder)
    if has_ended(folder):
        with blamed_on(folder / "config.json"):
            key = student_key(written["config"])
        return _of_file(folder / FOUND, key)
    if written["config"]["strategy"] is None:
        file = written["config"].get("architecture")
        raise ValueError(f"{folder} has no search: its recipe takes {file or 'the published architecture'}")
    raise ValueError(
        f"{folder} has no result of a search yet: `nas search {written['recipe']} --out {folder}` comes first"
    )


def student_key(config: Mapping[str, Any]) -> str:
    """Sixteen hex digits for what, beside an architecture, decides the cost of its student; of an encoded recipe."""
    size = [number for field, number in config["images"].items() if field in SIDES]
    text = json.dumps([config["space"], config["student"], size], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_file(path: Path, students: str) -> Entries:
    """`students`: the `student_key` of the recipe as it is now; costs of another recipe's students are not taken."""
    try:
        data = read_object(path)
        check_format(data, FORMAT, "the file")
        lists = {
            prefix: [
                Entry(
                    name=f"{prefix}{place}",
                    architecture=Architecture.from_dict(line["architecture"]),
                    overrides=line["architecture"].get("changes", {}),
                    score=number(line, "score"),
                    cost=number(line, "cost"),
                    further={
                        name: share
                        for name in line.get("further", {})
                        if (share := number(line["further"], name)) is not None
                    },
                    student=line.get("student") if data.get("student_key") == students else None,
                )
                for place, line in enumerate(data.get(key, []), start=1)
            ]
            for key, prefix in (("ranked", ""), ("front", "front:"))
        }
        notes = dict(data.get("notes", {}))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not list what a search found: {error}") from None
    return Entries(
        ranked=lists[""],
        front=lists["front:"],
        value=str(data.get("value", "log weight")),
        cost=str(data.get("cost", "")),
        notes=notes,
    )


def number(data: Mapping[str, Any], key: str) -> float | None:
    """What a file has as `key`, if anything. Raises ValueError where that is no finite number."""
    check_number(data.get(key), key)
    return data.get(key)
