"""Frames with boxes: a query beside the frames that were found for it, and what was detected in single frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nas.report.strips import FRAME, GAP, INK, PAPER, fitted

WIDTH = 240
"""Of a frame, px."""
TALLEST = 1.2
"""Height of a frame in widths, at most: a taller one is made narrower."""
PER_ROW = 5
TEXT, CAPTION = 18, 26
"""Size of a caption's letters and the height of its line, px: a page shows a picture smaller."""
MISSED = "#0072b2"
"""Blue: a person nobody detected."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Framed:
    """A frame to be drawn: its image, its boxes `(x1, y1, x2, y2)` in pixels with their colours, and what is below."""

    image: Image.Image
    boxes: Sequence[tuple[np.ndarray, str]]
    caption: str
    colour: str = PAPER
    """Around the frame."""


def found_frames(query: Framed, found: Sequence[Framed]) -> Image.Image:
    """The query's frame, and beside it the frames that were found, in their order."""
    tiles = [_tile(each) for each in found]
    sheet = grid(tiles)
    first = _tile(query)
    picture = Image.new("RGB", (first.width + 4 * GAP + sheet.width, max(first.height + 2 * GAP, sheet.height)), PAPER)
    picture.paste(first, (GAP, GAP))
    picture.paste(sheet, (first.width + 4 * GAP, 0))
    return picture


def frame_sheet(frames: Sequence[Framed]) -> Image.Image:
    """Single frames, row by row."""
    return grid([_tile(each) for each in frames])


def grid(tiles: Sequence[Image.Image]) -> Image.Image:
    """Tiles in rows of five, each in a cell of the largest one's size. Fewer leave room, so that all pictures are of
    one width."""
    width, height = (max((getattr(tile, side) for tile in tiles), default=1) + GAP for side in ("width", "height"))
    rows = -(-len(tiles) // PER_ROW)
    sheet = Image.new("RGB", (width * PER_ROW + GAP, height * max(1, rows) + GAP), PAPER)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, PER_ROW)
        sheet.paste(tile, (GAP + column * width, GAP + row * height))
    return sheet


def _tile(frame: Framed) -> Image.Image:
    """One frame with its boxes, in a border of its colour, above its caption."""
    scale = min(WIDTH / frame.image.width, TALLEST * WIDTH / frame.image.height)
    size = max(1, round(frame.image.width * scale)), max(1, round(frame.image.height * scale))
    inner = frame.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(inner)
    for box, colour in frame.boxes:
        left, top, right, bottom = (box * scale).round().tolist()
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    tile = Image.new("RGB", (size[0] + 2 * FRAME, size[1] + 2 * FRAME + CAPTION), PAPER)
    pen = ImageDraw.Draw(tile)
    pen.rounded_rectangle((0, 0, tile.width - 1, size[1] + 2 * FRAME - 1), radius=FRAME, fill=frame.colour)
    tile.paste(inner, (FRAME, FRAME))
    font = ImageFont.load_default(size=TEXT)
    words = fitted(frame.caption, font, tile.width)
    pen.text((tile.width / 2, tile.height - CAPTION / 2 + 1), words, fill=INK, font=font, anchor="mm")
    return tile
