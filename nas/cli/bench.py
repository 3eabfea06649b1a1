"""`nas bench WHAT`: how fast we are."""

from __future__ import annotations

import json

import tyro

from nas.bench import BENCHES
from nas.errors import near_misses


def main(arguments: list[str]) -> int:
    """Runs `nas bench ARGUMENTS`; the exit status. Raises ValueError for what is no bench."""
    what, *rest = arguments or [""]
    if what not in BENCHES:
        raise ValueError(f"there is no bench {what!r}{near_misses(what, BENCHES)}; there are {', '.join(BENCHES)}")
    as_json = "--json" in rest
    measured = tyro.cli(BENCHES[what], args=[word for word in rest if word != "--json"], prog=f"nas bench {what}")
    if as_json:
        print(json.dumps(measured, indent=2))
    for name, row in () if as_json else measured.items():
        print(f"{name:<40}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return 0
