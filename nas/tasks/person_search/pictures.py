"""Pictures of what one network finds, as files: queries with the frames found for them, and single frames with all that
was detected in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.scene_cache import SceneCache
from nas.data.scenes import SceneData
from nas.metrics.detection import Detection, box_iou
from nas.metrics.person_search import PersonSearch
from nas.report.scene_strips import MISSED, Framed, found_frames, frame_sheet
from nas.report.strips import QUERY, RIGHT, WRONG, spread, write_picture
from nas.report.thumbnails import ends_and_middle, write_thumbnails
from nas.tasks.person_search.found import Found
from nas.tasks.person_search.guided import FoundByQuery
from nas.tasks.person_search.settings import SearchEvaluation

FRAMES_OF_A_SHEET = 5
FRAME_AREA = 240 * 160
"""Of a small frame, px."""


def draw_strips(
    folder: Path, cache: SceneCache, data: SceneData, found: Found | FoundByQuery, result: PersonSearch, num_strips: int
) -> None:
    """Pictures of queries, evenly spread from the worst to the best: the query's frame and box, and the nearest box of
    each of the frames that were found first."""
    answered = np.flatnonzero(~np.isnan(result.average_precision))
    for number, query in enumerate(spread(answered, result.average_precision[answered], num_strips)):
        asked = Framed(
            image=data.test.images.read(int(data.queries.frames[query])),
            boxes=[(data.queries.boxes[query], QUERY)],
            caption=f"query, AP {100 * result.average_precision[query]:.0f}",
            colour=QUERY,
        )
        places = result.best[query][result.best[query] >= 0]
        verdicts = zip(places.tolist(), result.right[query].tolist(), strict=False)
        shown = [_answer(rank, place, right, cache, found) for rank, (place, right) in enumerate(verdicts, start=1)]
        write_picture(found_frames(asked, shown), folder / f"{number:02d}.png")


def draw_thumbnails(
    folder: Path,
    cache: SceneCache,
    data: SceneData,
    results: Sequence[tuple[Found | FoundByQuery, PersonSearch]],
    most: int,
) -> None:
    """Small frames of the last result's worst, median and best queries, and of those that any result found for them."""
    if not most or not results:
        return
    precision = results[-1][1].average_precision
    answered = np.flatnonzero(~np.isnan(precision))
    queries = ends_and_middle(answered, precision[answered], most)
    places = [(found, result.best[queries].ravel()) for found, result in results]
    frames = np.concatenate([found.frames[best[best >= 0]] for found, best in places])
    images = {"query": data.test.images, "gallery": cache.split.images}
    write_thumbnails(folder, images, {"query": data.queries.frames[queries], "gallery": frames}, FRAME_AREA)


def _answer(rank: int, place: int, right: bool, cache: SceneCache, found: Found | FoundByQuery) -> Framed:
    frame, colour = int(found.frames[place]), RIGHT if right else WRONG
    camera = "" if cache.split.cameras is None else f", camera {cache.split.cameras[frame]}"
    return Framed(
        image=cache.split.images.read(frame),
        boxes=[(found.boxes[place], colour)],
        caption=f"{rank}{camera}",
        colour=colour,
    )


def draw_sheets(
    folder: Path, cache: SceneCache, found: Found | FoundByQuery, detection: Detection, how: SearchEvaluation
) -> None:
    """Pictures of frames, evenly spread from the worst to the best, with what was detected, rightly or wrongly, and
    what was missed."""
    frames = [_InFrame.of(frame, cache, found, detection, how) for frame in range(len(cache))]
    chosen = spread(np.arange(len(cache)), np.array([each.share for each in frames]), how.num_sheets)
    for number, start in enumerate(range(0, len(chosen), FRAMES_OF_A_SHEET)):
        tiles = [
            Framed(
                image=cache.split.images.read(frame),
                boxes=frames[frame].boxes,
                caption=frames[frame].caption,
            )
            for frame in chosen[start : start + FRAMES_OF_A_SHEET].tolist()
        ]
        write_picture(frame_sheet(tiles), folder / f"{number:02d}.png")


@dataclass(frozen=True, kw_only=True, eq=False)
class _InFrame:
    """What was detected in one frame, and what was missed there."""

    right: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray

    @classmethod
    def of(
        cls, frame: int, cache: SceneCache, found: Found | FoundByQuery, detection: Detection, how: SearchEvaluation
    ) -> _InFrame:
        shown, true = found.frames == frame, cache.split.boxes[frame]
        right = found.boxes[shown & detection.right]
        taken = box_iou(right, true).argmax(axis=1) if len(right) else []
        return cls(
            right=right,
            wrong=found.boxes[shown & ~detection.right & (found.scores >= how.min_score)],
            missed=np.delete(true, taken, axis=0),
        )

    @property
    def share(self) -> float:
        """Of all boxes, true and detected ones, those that belong together: F1; 1 where there is neither."""
        together, apart = 2 * len(self.right), len(self.wrong) + len(self.missed)
        return together / (together + apart) if together + apart else 1.0

    @property
    def boxes(self) -> list[tuple[np.ndarray, str]]:
        kinds = ((self.missed, MISSED), (self.wrong, WRONG), (self.right, RIGHT))
        return [(box, colour) for boxes, colour in kinds for box in boxes]

    @property
    def caption(self) -> str:
        return f"{len(self.right)} right, {len(self.wrong)} wrong, {len(self.missed)} missed"
