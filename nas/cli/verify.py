"""`nas verify RUN|FILE A B`: whether two images show the same person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nas.cli.files import say
from nas.cli.network_options import NetworkOptions, parse_options
from nas.report.table import Row, Table, as_rich, terminal
from nas.stages.find import check_images, verify


@dataclass(frozen=True, kw_only=True)
class Arguments(NetworkOptions):
    """What `nas verify` takes."""

    first: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """An image."""
    second: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Another image."""


def main(arguments: list[str]) -> int:
    """Runs `nas verify ARGUMENTS`; the exit status."""
    given = parse_options(Arguments, "verify", arguments)
    check_images(given.first, given.second)
    found = verify(given.open(), given.first, given.second)
    if given.json:
        say(found, [], as_json=True)
        return 0
    print(f"{found['kind']} distance {found['distance']:.4f}")
    if not found["thresholds"]:
        print("no threshold says who is the same person: `nas evaluate RUN` measures them")
        return 0
    rows = [
        Row((each["name"], f"{each['largest']:.4f}", "same" if each["same"] else "different"))
        for each in found["thresholds"]
    ]
    terminal().print(as_rich(Table(("threshold", "same up to", "verdict"), tuple(rows), text=("verdict",))))
    return 0
