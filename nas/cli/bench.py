"""`nas bench WHAT`: how fast we are."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import tyro

from nas.bench import BENCHES
from nas.cli.arguments import pop_options
from nas.cli.files import Files, say
from nas.errors import near_misses


def main(arguments: list[str]) -> int:
    """Runs `nas bench ARGUMENTS`; the exit status. Raises ValueError for what is no bench."""
    what, *rest = arguments or [""]
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json, out = "--json" in rest, _out(what, rest)
    files = out and Files(out)
    measured = tyro.cli(BENCHES[what], args=[word for word in rest if word != "--json"], prog=f"nas bench {what}")
    if as_json:
        print(json.dumps(measured, indent=2))
        return 0
    for name, row in measured.items():
        print(f"{name:<40}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if files:
        say({}, files.written(), as_json=False)
    return 0


def _out(what: str, arguments: list[str]) -> Path | None:
    """The folder that the bench writes into; None for one that writes nothing."""
    parameter = inspect.signature(BENCHES[what]).parameters.get("out")
    return None if parameter is None else Path(pop_options(("--out",), arguments)[0].get("--out", parameter.default))
