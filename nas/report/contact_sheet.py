"""A look at a data set: some of its identities, each as a row of images from several cameras."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from PIL.ImageFont import load_default

from nas.data.base import ReIDData, Split
from nas.report.strips import AREA, GAP, INK, PAPER, QUERY, fitted, tile_size
from nas.report.style import LINE, MUTED

MARGIN, LABEL, CAPTION, HEADER, HEADING, FRAME = 32, 108, 20, 92, 40, 4
EMPTY = "#e8eaef"


@dataclass(frozen=True)
class Tile:
    """An image, None where it cannot be read, with the words below it."""

    image: Image.Image | None
    caption: str
    is_query: bool


@dataclass(frozen=True)
class Row:
    title: str
    subtitle: str
    tiles: list[Tile]


@dataclass(frozen=True)
class Panel:
    heading: str
    rows: list[Row]


def contact_sheet(
    data: ReIDData, rng: np.random.Generator, *, num_identities: int = 6, num_images: int = 8
) -> Image.Image:
    """Training identities on the left, those that queries ask for on the right; `num_identities` of each, drawn at
    random, with at most `num_images` images of each from as many cameras as possible. An identity's queries come
    first, at most a quarter of its images, in a dark frame."""
    training = [
        Row(f"identity {one}", counted(data.train, one, "images"), tiles(data.train, one, num_images, rng))
        for one in drawn_identities(data.train, num_identities, rng)
    ]
    tests = []
    for one in drawn_identities(data.query, num_identities, rng):
        queries = tiles(data.query, one, max(1, num_images // 4), rng, is_query=True)
        found = tiles(data.gallery, one, num_images - len(queries), rng)
        numbers = f"{counted(data.query, one, 'queries')}, {counted(data.gallery, one, 'in gallery')}"
        tests.append(Row(f"identity {one}", numbers, queries + found))
    counts = data.counts()
    panels = [
        Panel("{train_images:,} training images of {train_identities:,} identities".format(**counts), training),
        Panel("{query_images:,} queries of {query_identities:,} identities, {gallery_images:,} gallery images"
              .format(**counts), tests),
    ]  # fmt: skip
    subtitle = "identities drawn at random, and images of each from as many cameras as possible"
    return drawn_sheet(data.name, subtitle, panels, num_images)


def drawn_identities(split: Split, num: int, rng: np.random.Generator) -> list[int]:
    return sorted(rng.permutation(np.unique(split.ids[split.ids >= 0]))[:num].tolist())


def counted(split: Split, identity: int, what: str) -> str:
    return f"{(split.ids == identity).sum():,} {what}"


def tiles(split: Split, identity: int, num: int, rng: np.random.Generator, is_query: bool = False) -> list[Tile]:
    """At most `num` images of `identity`, in the order of their cameras."""
    found = []
    for i in over_cameras(split.cameras, rng.permutation(np.flatnonzero(split.ids == identity)), num):
        try:
            image = split.images.read(int(i))
        except ValueError:
            image = None
        words = ["query"] * is_query + ([] if split.cameras is None else [f"camera {split.cameras[i]}"])
        found.append(Tile(image, ", ".join(words), is_query))
    return found


def over_cameras(all_cameras: np.ndarray | None, indices: np.ndarray, num: int) -> np.ndarray:
    """The first image of each camera among `indices`, then the second of each and so on, until there are `num`; in the
    order of their cameras, of which `all_cameras` has one for each image."""
    if all_cameras is None:
        return indices[:num]
    cameras = all_cameras[indices]
    turn = [(cameras[:i] == camera).sum() for i, camera in enumerate(cameras)]
    chosen = np.argsort(turn, kind="stable")[:num]
    return indices[chosen[np.argsort(cameras[chosen], kind="stable")]]


def drawn_sheet(title: str, subtitle: str, panels: list[Panel], num_images: int, area: float = AREA) -> Image.Image:
    """Panels beside each other under a header; room for `num_images` tiles of `area` pixels in each row."""
    width, height = tile_size([tile.image for panel in panels for row in panel.rows for tile in row.tiles], area)
    panel_width = LABEL + num_images * (width + GAP) - GAP
    row_height = height + CAPTION + GAP
    num_rows = max(len(panel.rows) for panel in panels)
    sheet = Image.new("RGB", (len(panels) * (panel_width + MARGIN) + MARGIN,
                              HEADER + HEADING + num_rows * row_height + MARGIN), PAPER)  # fmt: skip
    pen = ImageDraw.Draw(sheet)
    _text(pen, title, (MARGIN, 48), 32, INK, sheet.width - 2 * MARGIN)
    _text(pen, subtitle, (MARGIN, 76), 15, MUTED, sheet.width - 2 * MARGIN)
    for number, panel in enumerate(panels):
        left = MARGIN + number * (panel_width + MARGIN)
        _text(pen, panel.heading, (left, HEADER + 22), 17, INK, panel_width)
        for place, row in enumerate(panel.rows):
            top = HEADER + HEADING + place * row_height
            pen.line((left, top - GAP / 2, left + panel_width, top - GAP / 2), fill=LINE)
            _row(sheet, row, left, top, (width, height))
    return sheet


def _row(sheet: Image.Image, row: Row, left: int, top: int, size: tuple[int, int]) -> None:
    pen, font = ImageDraw.Draw(sheet), load_default(12)
    _text(pen, row.title, (left, top + 18), 15, INK, LABEL - GAP)
    for line, words in enumerate(row.subtitle.split(", ")):
        _text(pen, words, (left, top + 38 + 16 * line), 12, MUTED, LABEL - GAP)
    for number, tile in enumerate(row.tiles):
        corner = (left + LABEL + number * (size[0] + GAP), top + GAP // 2)
        sheet.paste(_picture(tile, size), corner)
        words = fitted(tile.caption, font, size[0])
        pen.text((corner[0] + size[0] / 2, corner[1] + size[1] + 10), words, fill=MUTED, font=font, anchor="mm")


def _picture(tile: Tile, size: tuple[int, int]) -> Image.Image:
    """The whole image on a light ground; a query in a dark frame, a cross where there is no image."""
    picture = Image.new("RGB", size, EMPTY)
    pen = ImageDraw.Draw(picture)
    if tile.image is None:
        pen.line((0, 0, *size), fill=MUTED)
        pen.line((0, size[1], size[0], 0), fill=MUTED)
    else:
        picture.paste(ImageOps.pad(tile.image, size, color=EMPTY))
    if tile.is_query:
        pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=QUERY, width=FRAME)
    return picture


def _text(
    pen: ImageDraw.ImageDraw, text: str, place: tuple[float, float], size: int, colour: str, width: float
) -> None:
    """A line of text from `place` on, its left end on the base line."""
    pen.text(place, fitted(text, load_default(size), width), fill=colour, font=load_default(size), anchor="ls")
