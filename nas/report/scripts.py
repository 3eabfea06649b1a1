"""The script of a page: what its plots and tables are made with, inlined, and the policy that lets nothing else run.

A page that is rendered with `data`, plain data by names of its own, gets three scripts at its end (`layout.html`): the
data as JSON, which no browser runs, Apache ECharts (`vendor/`), and the files of `script/` one after the other. In the
page, `<div data-view="lines" data-key="cmc">` is drawn by `VIEWS.lines` (`script/main.js` lists all views) from
`data["cmc"]`; what it needs of the data stands above each view. A static picture for browsers without script stands
beside it in `<noscript>`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources

from markupsafe import Markup

SCRIPTS = (
    *("dom", "charts", "tables", "cell", "search", "trials", "queries", "retrieval"),
    *("costs", "live", "compare", "studies", "main"),
)
"""Files of `script/`, in the order in which they are joined."""
LONG = 50_000
"""Characters of JSON from which on it is packed."""


def policy(style: str, scripted: bool, live: bool = False) -> str:
    """What a page with this style sheet may do; one that is `live` hears from its server, too. Scripts and style sheets
    are named by their hash, so that none but its own run or hold; pictures and ECharts have styles in their attributes.
    Images are in the page, or beside it."""
    scripts = f"script-src {' '.join(map(_hash, (library(), script())))}; " if scripted else ""
    images = "data: 'self'" if scripted else "data:"
    news = "connect-src 'self'; " if live else ""
    return (
        f"default-src 'none'; {scripts}{news}img-src {images}; style-src 'unsafe-inline'; "
        f"style-src-elem {_hash(style)}; base-uri 'none'; form-action 'none'"
    )


def as_json(data: Mapping[str, object]) -> Markup:
    """Plain data by names as JSON for a `<script type="application/json">`: nothing in it can end the element.

    What is long is packed, which `script/main.js` undoes: `{"gzip": BASE64}` takes its place.
    """
    texts = {name: _compact(value) for name, value in data.items()}
    return Markup(_compact({name: _packed(text) if len(text) > LONG else data[name] for name, text in texts.items()}))


def _compact(data: object) -> str:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(text: str) -> dict[str, str]:
    return {"gzip": base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()}


def shortened(value: object, digits: int = 4) -> float | None:
    """A number with few digits, as a plot shows it; None for what is missing or not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


@cache
def library() -> Markup:
    """Apache ECharts as it is published."""
    return Markup(_read("vendor/echarts.min.js"))


@cache
def script() -> Markup:
    """Our own script, in a scope of its own."""
    files = "\n".join(_read(f"script/{name}.js") for name in SCRIPTS)
    return Markup(f'(() => {{\n"use strict";\n{files}}})();\n')


def _read(name: str) -> str:
    return resources.files("nas.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
