"""Many runs as a table, and as an index page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nas.report.numbers import MISSING, milliseconds, multiply_adds, percent
from nas.report.table import Row, Table
from nas.system.files import read_bytes, write_text

PAGES = {"run": "report.html", "tune": "tuning.html", "ablate": "ablation.html"}
"""By its kind the page that a run or a study has beside it."""
MARK = "index of runs, by nas"
"""What tells an index page from other people's pages."""
AGES = ((86_400, "d"), (3_600, "h"), (60, "m"))
STATES = ("running", "failed", "damaged", "stopped", "finished")


def runs_table(rows: Sequence[Mapping[str, Any]], below: Path) -> Table:
    """A row for each summary; names are those below the folder that was asked for."""
    cells = [
        (
            name(row, below),
            f"{row['recipe'] or MISSING} {row['data'] or ''}".strip(),
            state(row),
            percent(row["mAP"]),
            multiply_adds(row["multiply_adds"]).replace(" ", ""),
            milliseconds(row["ms_per_image_1"]),
            age(row["age_s"]),
        )
        for row in rows
    ]
    columns = ("run", "recipe, data", "state", "mAP", "MACs", "ms", "age")
    return Table(columns, tuple(map(Row, cells)), text=("recipe, data", "state"))


def name(row: Mapping[str, Any], below: Path) -> str:
    """The run's folder below the one that was asked for."""
    place = os.path.relpath(row["run"], below)
    return Path(row["run"]).resolve().name if place == "." else place


def state(row: Mapping[str, Any]) -> str:
    """With where the run is, as far as it says."""
    where = f" {row['doing']}" if row["doing"] and row["state"] != "finished" else ""
    return f"{row['state']}{where}" + (f", eta {row['eta']}" if row["eta"] and row["state"] == "running" else "")


def age(seconds: float) -> str:
    """`5m`, `3h`, `12d`: whole minutes, hours or days."""
    return next((f"{seconds // unit:.0f}{letter}" for unit, letter in AGES if seconds >= unit), "0m")


def count(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, in words."""
    states = [row["state"] for row in rows]
    parts = [f"{states.count(each)} {each}" for each in STATES if each in states]
    return f"{len(rows)} run{'s' * (len(rows) != 1)}" + (f": {', '.join(parts)}" if parts else "")


def index_row(row: Mapping[str, Any], below: Path, link: str) -> dict[str, Any]:
    """What the index page shows of a summary: texts, and numbers to sort by."""
    texts = (
        (percent(row["mAP"]), row["mAP"], None),
        (percent(row["rank1"]), row["rank1"], None),
        (multiply_adds(row["multiply_adds"]), row["multiply_adds"], None),
        (milliseconds(row["ms_per_image_1"]), row["ms_per_image_1"], row["runtime"]),
        (age(row["age_s"]), row["age_s"] // 60, row["changed"]),
    )
    return {
        "name": name(row, below),
        "recipe": row["recipe"] or MISSING,
        "data": row["data"] or MISSING,
        "state": row["state"],
        "where": state(row).removeprefix(row["state"]).strip(),
        "why": row["why"] or "",
        "link": link,
        "cells": [{"text": text, "value": value, "title": title} for text, value, title in texts],
    }


def index_data(rows: Sequence[Mapping[str, Any]], below: Path, links: Sequence[str]) -> dict[str, Any]:
    """What the view `runs` draws; `links`: for each row the address of its page, or nothing."""
    shown = [index_row(row, below, link) for row, link in zip(rows, links, strict=True)]
    return {"count": count(rows), "rows": shown}


def write_index(path: Path, rows: Sequence[Mapping[str, Any]], below: Path) -> Path:
    """Writes the index page, with links to the pages that the runs have, from where the index lies.

    Raises ValueError where `path` is a file of another kind.
    """
    check_index(path)
    links = [_link(row, path.absolute().parent) for row in rows]
    return write_text(path, index_page(index_data(rows, below, links), below))


def check_index(path: Path) -> None:
    if path.exists() and MARK.encode() not in read_bytes(path):
        raise ValueError(f"{path} is there and is no index of runs: give --html another file")


def index_page(runs: Mapping[str, Any], below: Path, live: Mapping[str, str] | None = None) -> str:
    """`live`: where a server tells of news, as `events`."""
    from nas.report.page import templates  # matplotlib, which a table has no need of

    data = {"runs": runs, **({"live": live} if live else {})}
    return templates().get_template("runs.html").render(data=data, live=live, folder=str(below), mark=MARK)


def _link(row: Mapping[str, Any], start: Path) -> str:
    page = Path(row["run"]).absolute() / PAGES.get(row["kind"], "report.html")
    return quote(Path(os.path.relpath(page, start)).as_posix()) if page.is_file() else ""
