"""Pictures as parts of a page: SVG that takes the page's colours, bitmaps as data URIs.

A folder may be a stranger's, and a page runs what it holds. So only what this package has just drawn becomes part of a
page; a picture out of a file is shown as an image, in which a browser runs nothing and loads nothing.
"""

import base64
import io
import math
import re
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup, escape
from PIL import Image

from nas.data.images import reason_of
from nas.errors import first_line
from nas.report.style import BORDERS, FILLS, INK, LINE, MUTED
from nas.system.files import blamed_on

# What a drawing is coloured with, and the page's variable that takes its place (with the colour as its fall-back).
THEME = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    "#687080": "--muted",  # in pictures that version 0.1 drew
    FILLS["input"]: "--fill-input",
    FILLS["node"]: "--panel",
    FILLS["output"]: "--fill-output",
    BORDERS["node"]: "--muted",
    "#0072b2": "--blue",
    "#003f7d": "--navy",
}
PX_PER_PT = 4 / 3
SMALLEST = 0.62  # of its natural size; below it a picture scrolls
SVG = "http://www.w3.org/2000/svg"

ElementTree.register_namespace("", SVG)  # elements of a picture keep their names without a prefix

_TAG = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_LEFT_OUT = re.compile(r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", re.DOTALL)
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
_COLOUR = re.compile("|".join(THEME))


def _first(pattern: str | re.Pattern[str], text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    assert match is not None
    return match


def inline_svg(svg: str, name: str, title: str) -> Markup:
    """An SVG document that was drawn here as an element of a page, named `title` for who cannot see it.

    `name` must be unique on the page: it keeps the identifiers of several drawings apart.
    """
    svg = _LEFT_OUT.sub("", svg[_first(_TAG, svg).start() :])
    tag = _first(_TAG, svg)[0]
    width = float(_first(r'\bwidth="([\d.]+)pt"', tag)[1]) * PX_PER_PT
    view_box = _first(r'\bviewBox="[\d. -]+"', tag)[0]
    opening = f'<svg {view_box} role="img" aria-label="{escape(title)}" style="{_size(width)}">'
    body = _REFERENCE.sub(rf"\g<1>{name}-", svg.removeprefix(tag)).replace("xlink:href", "href")
    return Markup(opening + _themed(body))


def svg_image(path: Path, title: str, theme: str) -> Markup:
    """The SVG in a file as an image of a page; `theme` is the style sheet that says what the page's colours are.

    Raises ValueError naming the file when it is not XML, or no SVG.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, OSError) as error:
        raise ValueError(f"{path} must be an SVG, and cannot be read ({first_line(error)}): remove it") from error
    if root.tag != f"{{{SVG}}}svg":
        raise ValueError(f"{path} must be an SVG, and is XML of another kind: remove it")
    with blamed_on(path):
        _, _, width, height = (float(number) for number in root.get("viewBox", "").replace(",", " ").split())
        if not 0 < width < math.inf or not 0 < height < math.inf:
            raise ValueError("its viewBox must have a width and a height above 0")
    root.set("width", f"{width:g}")
    root.set("height", f"{height:g}")
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = theme
    root.insert(0, style)
    source = _base64("image/svg+xml", _themed(ElementTree.tostring(root, encoding="unicode")).encode())
    return Markup(f'<img src="{source}" alt="{escape(title)}" style="{_size(width * PX_PER_PT)}">')


def png_image(path: Path, quality: int = 90) -> str:
    """The PNG in a file as the source of an `<img>`: its pixels alone. Raises ValueError naming a file that is none."""
    file = io.BytesIO()
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.convert("RGB").save(file, "JPEG", quality=quality, subsampling=0)
    except Exception as error:  # Pillow's decoders raise nearly every type
        raise ValueError(f"{path} must be a PNG, and cannot be read ({reason_of(error)}): remove it") from error
    return _base64("image/jpeg", file.getvalue())


def _size(width: float) -> str:
    return f"max-width: {width:.0f}px; min-width: {SMALLEST * width:.0f}px"


def _themed(svg: str) -> str:
    return _COLOUR.sub(lambda colour: f"var({THEME[colour[0]]}, {colour[0]})", svg)


def _base64(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
