"""What is in a data set and what is wrong with it, after every image was opened. Nothing is written."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.data.base import ReIDData, num_known
from nas.data.check.look import Looked, Seen, look
from nas.data.check.problems import Problem, problems
from nas.data.check.scene_problems import scene_problems
from nas.data.images import NUM_THREADS
from nas.data.scenes import SceneData


@dataclass(frozen=True)
class Spread:
    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the images of a split are.

    num_sizes, width, height (pixels, each by itself), formats and modes (Pillow's names): of the images that can be
    decoded. num_cameras: without the unknown one (-1). images_per_camera: by the camera's number as text.
    """

    num_images: int
    num_unreadable: int
    num_cameras: int | None
    images_per_camera: dict[str, int] | None
    num_sizes: int
    width: Spread | None
    height: Spread | None
    formats: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SplitFacts(ImageFacts):
    """What is in a split of crops.

    num_identities: without junk (-1). num_single: those with one image only. images_per_identity, num_single: without
    the gallery's distractors, which are no identity that a query has.
    """

    num_identities: int
    num_single: int
    images_per_identity: Spread | None


@dataclass(frozen=True, kw_only=True)
class SceneFacts(ImageFacts):
    """What is in a split of scenes.

    num_unknown: boxes of persons without identity. num_empty: frames without boxes. num_queries: None in training.
    box_height: in pixels, as the boxes are listed.
    """

    num_boxes: int
    num_unknown: int
    num_identities: int
    num_empty: int
    num_queries: int | None
    boxes_per_image: Spread | None
    images_per_identity: Spread | None
    box_height: Spread | None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What `check` found. Images are named relative to `folder`, the deepest one that contains them all.

    counts: see `ReIDData.counts` and `SceneData.counts`; published: what some of them should be. unreadable: name to
    reason. duplicates: groups of images with the same bytes.
    """

    name: str
    folder: str | None
    splits: dict[str, SplitFacts] | dict[str, SceneFacts]
    counts: dict[str, int]
    published: dict[str, int]
    unreadable: dict[str, str]
    duplicates: tuple[tuple[str, ...], ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and notes may be there."""
        return all(problem.severity != "error" for problem in self.problems)

    def to_dict(self) -> dict:
        """Plain data for JSON: the fields by their names, `ok`, and `format`, which grows when a field changes."""
        return {"format": 1, "ok": self.ok} | asdict(self)


def check(
    data: ReIDData | SceneData,
    published: Mapping[str, int],
    *,
    strict: bool = False,
    num_threads: int = NUM_THREADS,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Opens every image of `data`, each file once.

    data, published: what `listed` and `published` of its source give. strict: counts that are not the published ones
    are an error. progress: called with (images done, images in all).
    """
    splits: dict[str, SplitFacts] | dict[str, SceneFacts]
    if isinstance(data, SceneData):
        scenes = look(data, num_threads, progress)
        splits = {name: scene_facts(data, name, scenes.seen[name]) for name in data.splits}
        return _checked(scenes, published, splits, scene_problems(scenes, published, strict))
    crops = look(data, num_threads, progress)
    splits = {name: facts(data, name, crops.seen[name]) for name in data.splits}
    return _checked(crops, published, splits, problems(crops, published, strict))


def _checked(
    looked: Looked,
    published: Mapping[str, int],
    splits: dict[str, SplitFacts] | dict[str, SceneFacts],
    found: tuple[Problem, ...],
) -> Checked:
    return Checked(
        name=looked.data.name,
        folder=None if looked.folder is None else str(looked.folder),
        splits=splits,
        counts=looked.data.counts(),
        published=dict(published),
        unreadable={looked.name(place): seen.reason for place, seen in looked.everything() if seen.reason},
        duplicates=tuple(tuple(map(looked.name, group)) for group in looked.duplicates),
        problems=found,
    )


def image_facts(cameras: np.ndarray | None, seen: Sequence[Seen]) -> dict[str, Any]:
    """The fields of `ImageFacts`."""
    decoded = [one for one in seen if not one.reason]
    return {
        "num_images": len(seen),
        "num_unreadable": len(seen) - len(decoded),
        "num_cameras": None if cameras is None else num_known(cameras),
        "images_per_camera": None if cameras is None else numbers_of(cameras.tolist()),
        "num_sizes": len({one.size for one in decoded}),
        "width": spread([one.size[0] for one in decoded]),
        "height": spread([one.size[1] for one in decoded]),
        "formats": numbers_of(one.format for one in decoded),
        "modes": numbers_of(one.mode for one in decoded),
    }


def facts(data: ReIDData, name: str, seen: Sequence[Seen]) -> SplitFacts:
    split = data.splits[name]
    is_distractor = (name == "gallery") & ~np.isin(split.ids, data.query.ids)
    images_of = np.unique(split.ids[(split.ids >= 0) & ~is_distractor], return_counts=True)[1]
    return SplitFacts(
        num_identities=num_known(split.ids),
        num_single=int((images_of == 1).sum()),
        images_per_identity=spread(images_of),
        **image_facts(split.cameras, seen),
    )


def scene_facts(data: SceneData, name: str, seen: Sequence[Seen]) -> SceneFacts:
    split = data.splits[name]
    frames, corners, ids = split.all_boxes
    num_boxes = np.bincount(frames, minlength=len(split))
    return SceneFacts(
        num_boxes=len(ids),
        num_unknown=int((ids < 0).sum()),
        num_identities=num_known(ids),
        num_empty=int((num_boxes == 0).sum()),
        num_queries=len(data.queries) if name == "test" else None,
        boxes_per_image=spread(num_boxes),
        images_per_identity=spread(split.num_frames_of()[1]),
        box_height=spread(np.rint(corners[:, 3] - corners[:, 1])),
        **image_facts(split.cameras, seen),
    )


def numbers_of(things: Iterable) -> dict[str, int]:
    """How many there are of each, in the order of the things."""
    return {str(thing): number for thing, number in sorted(Counter(things).items())}


def spread(numbers: Sequence[int] | np.ndarray) -> Spread | None:
    return Spread(int(min(numbers)), float(np.median(numbers)), int(max(numbers))) if len(numbers) else None
