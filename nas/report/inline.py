"""Pictures as parts of a page: SVG that takes the page's colours, bitmaps as data URIs."""

import base64
import io
import re

from markupsafe import Markup, escape
from PIL import Image

from nas.report.style import BORDERS, FILLS, INK, LINE, MUTED

# What a drawing is coloured with, and the page's variable that takes its place (with the colour as its fall-back).
THEME = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    FILLS["input"]: "--fill-input",
    FILLS["node"]: "--panel",
    FILLS["output"]: "--fill-output",
    BORDERS["node"]: "--muted",
    "#0072b2": "--blue",
    "#003f7d": "--navy",
}
PX_PER_PT = 4 / 3
SMALLEST = 0.62  # of its natural size; below it a picture scrolls

_TAG = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
_COLOUR = re.compile("|".join(THEME))


def _first(pattern: str | re.Pattern[str], text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    assert match is not None
    return match


def inline_svg(svg: str, name: str, title: str) -> Markup:
    """An SVG document as an element of a page, named `title` for who cannot see it.

    `name` must be unique on the page: it keeps the identifiers of several drawings apart.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[_first(_TAG, svg).start() :], flags=re.DOTALL)
    tag = _first(_TAG, svg)[0]
    width = float(_first(r'\bwidth="([\d.]+)pt"', tag)[1]) * PX_PER_PT
    view_box = _first(r'\bviewBox="[\d. -]+"', tag)[0]
    opening = (
        f'<svg {view_box} role="img" aria-label="{escape(title)}"'
        f' style="max-width: {width:.0f}px; min-width: {SMALLEST * width:.0f}px">'
    )
    body = _REFERENCE.sub(rf"\g<1>{name}-", svg.removeprefix(tag)).replace("xlink:href", "href")
    return Markup(opening + _COLOUR.sub(lambda colour: f"var({THEME[colour[0]]}, {colour[0]})", body))


def data_uri(image: Image.Image, quality: int = 90) -> str:
    """A bitmap as the source of an `<img>`."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
