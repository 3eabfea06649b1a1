"""`nas bench WHAT`: how fast we are."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import Any

from nas.bench import BENCHES
from nas.cli.parse import by_flag, parse
from nas.errors import near_misses


def main(arguments: list[str]) -> int:
    """Runs `nas bench ARGUMENTS`; the exit status. Raises ValueError for what is no bench."""
    what, *rest = arguments or [""]
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json = "--json" in rest
    given = parse(
        parameters(BENCHES[what]),
        [word for word in rest if word != "--json"],
        prog=f"nas bench {what}",
        description=inspect.getdoc(BENCHES[what]),
    )
    with by_flag():
        measured = BENCHES[what](**vars(given))
    if as_json:
        print(json.dumps(measured, indent=2))
    for name, row in () if as_json else measured.items():
        print(f"{name:<40}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return 0


def parameters(bench: Callable[..., Any]) -> type[Any]:
    """A dataclass of what a bench takes."""
    hints = typing.get_type_hints(bench, include_extras=True)
    asked = inspect.signature(bench).parameters.values()
    return make_dataclass(
        "Parameters",
        [
            (each.name, hints[each.name], field() if each.default is each.empty else field(default=each.default))
            for each in asked
        ],
    )
