"""A look at a data set of scenes: some of its identities, each as a row of frames with the boxes in them."""

import numpy as np
from PIL import Image, ImageDraw

from nas.data.scenes import SceneData, SceneSplit
from nas.report.contact_sheet import Panel, Row, Tile, drawn_sheet, over_cameras

AREA = 288 * 192  # of one frame, px
OWN, OTHERS, UNKNOWN = "#d55e00", "#56b4e9", "#c4cad4"
"""Colours of the boxes of the row's identity, of other identities, and of persons without one."""


def scene_sheet(
    data: SceneData, rng: np.random.Generator, *, num_identities: int = 6, num_frames: int = 4
) -> Image.Image:
    """Training identities on the left, those that queries ask for on the right; `num_identities` of each, drawn at
    random, with at most `num_frames` frames of each from as many cameras as possible. The first frame on the right is
    one in which the person is a query, in a dark frame."""
    training = [
        Row(f"identity {one}", f"{len(frames_of(data.train, one)):,} frames", tiles(data.train, one, num_frames, rng))
        for one in chosen(data.train.all_boxes.ids, num_identities, rng)
    ]
    tests = []
    for one in chosen(data.queries.ids, num_identities, rng):
        queries = data.queries.frames[data.queries.ids == one]
        numbers = f"{len(queries):,} queries, {len(frames_of(data.test, one)):,} frames"
        tests.append(Row(f"identity {one}", numbers, tiles(data.test, one, num_frames, rng, int(rng.choice(queries)))))
    counts = data.counts()
    panels = [
        Panel("{train_frames:,} training frames, {train_boxes:,} boxes, {train_identities:,} identities"
              .format(**counts), training),
        Panel("{test_frames:,} test frames, {test_boxes:,} boxes, {queries:,} queries of {query_identities:,} people"
              .format(**counts), tests),
    ]  # fmt: skip
    subtitle = "identities drawn at random: their boxes are orange, those of others blue, of nobody known grey"
    return drawn_sheet(data.name, subtitle, panels, num_frames, area=AREA)


def chosen(ids: np.ndarray, num: int, rng: np.random.Generator) -> list[int]:
    return sorted(rng.permutation(np.unique(ids[ids >= 0]))[:num].tolist())


def frames_of(split: SceneSplit, identity: int) -> np.ndarray:
    """The frames that have `identity`, ascending."""
    frames, _, ids = split.all_boxes
    return np.unique(frames[ids == identity])


def tiles(split: SceneSplit, identity: int, num: int, rng: np.random.Generator, query: int | None = None) -> list[Tile]:
    """The frame `query`, then further frames with `identity` in the order of their cameras: at most `num`."""
    others = rng.permutation(np.setdiff1d(frames_of(split, identity), () if query is None else query))
    shown = over_cameras(split.cameras, others, num - (query is not None)).tolist()
    found = []
    for i in shown if query is None else [query, *shown]:
        try:
            image = marked(split.images.read(i), split.boxes[i], split.ids[i], identity)
        except ValueError:
            image = None
        words = ["query"] * (i == query) + ([] if split.cameras is None else [f"camera {split.cameras[i]}"])
        found.append(Tile(image, ", ".join(words), i == query))
    return found


def marked(image: Image.Image, boxes: np.ndarray, ids: np.ndarray, identity: int) -> Image.Image:
    """`image` with its boxes; those of `identity` are thick and lie on top."""
    image = image.copy()
    pen, thick = ImageDraw.Draw(image), max(1, round(max(image.size) / 100))
    for box, one in sorted(zip(boxes.tolist(), ids.tolist(), strict=True), key=lambda pair: pair[1] == identity):
        is_own = one == identity
        colour = OWN if is_own else OTHERS if one >= 0 else UNKNOWN
        pen.rectangle(tuple(box), outline=colour, width=thick if is_own else max(1, thick // 2))
    return image
