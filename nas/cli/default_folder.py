"""The folder of a run that is given none: the recipe's name, what was changed of it in words, and the seed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.cli.arguments import OUT, Options, default_of
from nas.cli.show import strategy_name
from nas.data.sets import SETS
from nas.losses import LOSSES
from nas.recipe import Recipe
from nas.strategies import STRATEGIES
from nas.strategies.base import Strategy
from nas.system.config import encode

CHANGED = ("strategy", "loss", "data", "teacher", "baseline", "space", "student", "architecture", "search", "retrain")
"""The fields of a recipe whose changes are in the name, in this order."""
LONGEST = 80
KINDS: dict[type, str] = {type(loss): name for name, loss in reversed(LOSSES.items())} | {
    kind: name for name, kind in SETS.items()
}
"""What the command line calls classes; of several names the first."""


def default_folder(name: str, recipe: Recipe, changed: Recipe, options: Options) -> Path:
    """Where the run of the recipe `name`, as the command line has changed it, goes without `--out`.

    Parts that were replaced or left out and words that were chosen are in the name, so that such runs do not meet;
    numbers, folders and the settings of the teacher are not. Without such changes it is `NAME-seedN`.
    """
    before = recipe.small() if options.small else recipe
    words = [word for field in CHANGED for word in _words(field, getattr(before, field), getattr(changed, field))]
    words += [options.overrides.stem] if options.overrides else []
    label = "-".join(dict.fromkeys(filter(None, map(_safe, words))))
    if len(label) > LONGEST:
        label = f"{label[:LONGEST]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return OUT / "-".join([name, *["small"] * options.small, *[label] * bool(label), f"seed{changed.seed}"])


def _words(field: str, before: Any, now: Any) -> Iterator[str]:
    if now is None and before is not None:
        yield f"no-{field}"
    elif type(before) is not type(now) and dataclasses.is_dataclass(now):
        word = strategy_name(encode(now)) if isinstance(now, Strategy) else KINDS.get(type(now), type(now).__name__)
        yield word
        for each in dataclasses.fields(now):
            standard = getattr(STRATEGIES.get(word), each.name, default_of(each))
            yield from _words(each.name, standard, getattr(now, each.name))
    elif dataclasses.is_dataclass(now) and field != "teacher":
        for each in dataclasses.fields(now):
            yield from _words(each.name, getattr(before, each.name), getattr(now, each.name))
    elif before != now and isinstance(now, str | Path) and not (isinstance(now, Path) and not now.suffix):
        yield Path(now).stem
    elif before != now and isinstance(now, bool):
        yield field if now else f"no-{field}"


def _safe(word: str) -> str:
    """The word with nothing in it that a file system might refuse."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")
