"""`nas bench WHAT`: measures speed, or compares strategies."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from typing import Annotated, Any

import tyro

from nas.bench import BENCHES, TAKES
from nas.cli.commands import COMMANDS
from nas.cli.files import Files, say
from nas.cli.parse import by_flag, parse
from nas.errors import near_misses
from nas.report.numbers import setting
from nas.report.table import Row, Table, as_rich, terminal


def main(arguments: list[str]) -> int:
    """Runs `nas bench ARGUMENTS`; the exit status. Raises ValueError for what is no bench."""
    what, *rest = arguments or [""]
    if what in ("", "-h", "--help"):
        print(_usage())
        return 0 if what else 2
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json = "--json" in rest
    given = parse(
        parameters(BENCHES[what]),
        [word for word in rest if word != "--json"],
        prog=f"nas bench {what}",
        description=inspect.getdoc(BENCHES[what]),
    )
    files = Files(given.out) if getattr(given, "out", None) else None
    with by_flag():
        measured = BENCHES[what](**vars(given))
    if as_json:
        print(json.dumps(measured, indent=2))
    else:
        terminal().print(as_rich(_table(measured)))
        if files:
            say({}, files.written(), as_json=False)
    return 0


def _usage() -> str:
    firsts = {name: (inspect.getdoc(bench) or "").partition("\n")[0] for name, bench in BENCHES.items()}
    return "\n".join(
        [
            "usage: nas bench WHAT [--json] [--field value ...]",
            "",
            "Measures, in one run:",
            *(f"  {name:<12}{first}" for name, first in firsts.items()),
            "",
            f"Example: {COMMANDS['bench'].example}",
            "`nas bench WHAT --help` lists the fields.",
        ]
    )


def _table(measured: Mapping[str, Mapping[str, float]]) -> Table:
    """A row for each thing measured, a column for each number that one of them has."""
    keys = list(dict.fromkeys(key for row in measured.values() for key in row))
    columns = (setting.column([row.get(key) for row in measured.values()]) for key in keys)
    rows = zip(measured, *columns, strict=True)
    return Table(("measured", *keys), tuple(map(Row, rows)))


def parameters(bench: Callable[..., Any]) -> type[Any]:
    """A dataclass of what a bench takes."""
    hints = typing.get_type_hints(bench, include_extras=True)
    hints |= {name: Annotated[hints[name], tyro.conf.arg(help=TAKES[name])] for name in hints.keys() & TAKES.keys()}
    asked = inspect.signature(bench).parameters.values()
    return make_dataclass(
        "Parameters",
        [
            (each.name, hints[each.name], field() if each.default is each.empty else field(default=each.default))
            for each in asked
        ],
    )
