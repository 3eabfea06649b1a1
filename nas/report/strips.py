"""A query beside the gallery images that were ranked highest for it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from nas.system.files import write_whole

AREA = 96 * 192  # of one image, px; its shape is the shape that most images have
RIGHT, WRONG, QUERY = "#009e73", "#d55e00", "#4a5264"  # green and red that colour-blind readers can tell apart
PAPER, INK = "#ffffff", "#1c2230"
FRAME, GAP, MARK, TEXT = 5, 10, 22, 12


def strip(
    query: Image.Image,
    ranked: Sequence[Image.Image],
    right: Sequence[bool | None],
    captions: Sequence[str] = (),
    per_row: int = 0,
) -> Image.Image:
    """The query, then the gallery in ranked order: a green frame with a tick where it is right, a red one with a cross,
    a grey one where that is None, as nobody knows. `per_row`: so many of the gallery in a row; 0: all.

    `captions` stand below the images: the query's first, then the gallery's; without them "query", "1", "2", ...

    Raises:
        ValueError: the lists differ in length.
    """
    captions = list(captions) or ["query", *(str(rank) for rank in range(1, len(ranked) + 1))]
    if not len(ranked) == len(right) == len(captions) - 1:
        raise ValueError(
            "Each ranked image must have a verdict and a caption, and the query a caption: there are "
            f"{len(ranked)} ranked images, {len(right)} verdicts and {len(captions)} captions (one more expected)."
        )
    size = tile_size([query, *ranked])
    verdicts: list[bool | None] = [None, *right]
    images = [query, *ranked]
    return _side_by_side([_tile(*each, size) for each in zip(images, verdicts, captions, strict=True)], per_row)


def spread(items: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items, evenly spread from the lowest value to the highest."""
    in_order = items[np.argsort(values, kind="stable")]
    return in_order[np.linspace(0, len(in_order) - 1, min(most, len(in_order))).round().astype(int)]


def write_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file, as a whole or not at all."""
    write_whole(path, partial(picture.save, format="PNG"))


def tile_size(images: Sequence[Image.Image | None], area: float = AREA) -> tuple[int, int]:
    """Width and height with the images' median shape, between 1:3 and 3:1, and the area of every tile."""
    shapes = [image.width / image.height for image in images if image is not None] or [1 / 2]
    shape = float(np.clip(np.median(shapes), 1 / 3, 3))
    return round((area * shape) ** 0.5), round((area / shape) ** 0.5)


def _side_by_side(tiles: list[Image.Image], per_row: int) -> Image.Image:
    """Tiles in rows, the query a little apart to the left of the first."""
    width, height = tiles[0].size
    in_row = min(per_row or len(tiles), max(1, len(tiles) - 1))
    num_rows = max(1, -(-(len(tiles) - 1) // in_row))
    across = (width + GAP) * min(len(tiles), in_row + 1) + 3 * GAP
    sheet = Image.new("RGB", (across, (height + GAP) * num_rows + GAP), PAPER)
    sheet.paste(tiles[0], (GAP, GAP))
    for number, tile in enumerate(tiles[1:]):
        row, position = divmod(number, in_row)
        sheet.paste(tile, (3 * GAP + (position + 1) * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def _tile(image: Image.Image, right: bool | None, caption: str, size: tuple[int, int]) -> Image.Image:
    """One framed image above its caption; `right` is None for the query."""
    colour = QUERY if right is None else RIGHT if right else WRONG
    width, height = size[0] + 2 * FRAME, size[1] + 2 * FRAME
    text = max(TEXT, width // 9)  # a page shows a wide strip smaller
    tile = Image.new("RGB", (width, height + text + 6), PAPER)
    pen = ImageDraw.Draw(tile)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), radius=FRAME, fill=colour)
    tile.paste(ImageOps.pad(image.convert("RGB"), size, color=PAPER), (FRAME, FRAME))
    if right is not None:
        _mark(pen, right, colour, width - FRAME - MARK, FRAME)
    font = ImageFont.load_default(size=text)
    words = fitted(caption, font, width)
    pen.text((width / 2, height + text / 2 + 4), words, fill=INK, font=font, anchor="mm")
    return tile


def _mark(pen: ImageDraw.ImageDraw, right: bool, colour: str, left: int, top: int) -> None:
    """A white tick or cross on a square of the frame's colour, in the image's upper right corner."""
    pen.rectangle((left, top, left + MARK - 1, top + MARK - 1), fill=colour)
    strokes = [[(0.22, 0.52), (0.42, 0.72), (0.78, 0.28)]]
    if not right:
        strokes = [[(0.26, 0.26), (0.74, 0.74)], [(0.74, 0.26), (0.26, 0.74)]]
    for stroke in strokes:
        pen.line([(left + x * MARK, top + y * MARK) for x, y in stroke], fill=PAPER, width=3, joint="curve")


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """`text`, shortened until it is no wider than `width` px."""
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…" if len(text) > 1 else ""
    return text
