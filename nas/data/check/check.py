"""What is in a data set and what is wrong with it, after every image was opened. Nothing is written."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from nas.data.base import ReIDData, num_known
from nas.data.check.look import Seen, look
from nas.data.check.problems import Problem, problems
from nas.data.images import NUM_THREADS


@dataclass(frozen=True)
class Spread:
    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What is in a split.

    num_identities: without junk (-1). num_single: those with one image only. images_per_identity, num_single: without
    the gallery's distractors, which are no identity that a query has. num_sizes, width, height (pixels, each by
    itself), formats and modes (Pillow's names): of the images that can be decoded. num_cameras: without the unknown one
    (-1). images_per_camera: by the camera's number as text.
    """

    num_images: int
    num_unreadable: int
    num_identities: int
    num_single: int
    images_per_identity: Spread | None
    num_cameras: int | None
    images_per_camera: dict[str, int] | None
    num_sizes: int
    width: Spread | None
    height: Spread | None
    formats: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What `check` found. Images are named relative to `folder`, the deepest one that contains them all.

    counts: see `ReIDData.counts`; published: what some of them should be. unreadable: name to reason. duplicates:
    groups of images with the same bytes.
    """

    name: str
    folder: str | None
    splits: dict[str, SplitFacts]
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
    data: ReIDData,
    published: Mapping[str, int],
    *,
    strict: bool = False,
    num_threads: int = NUM_THREADS,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Opens every image of `data`, each file once.

    data, published: what `DataSource.listed` and `DataSource.published` give. strict: counts that are not the
    published ones are an error. progress: called with (images done, images in all).
    """
    looked = look(data, num_threads, progress)
    return Checked(
        name=data.name,
        folder=None if looked.folder is None else str(looked.folder),
        splits={name: facts(data, name, looked.seen[name]) for name in data.splits},
        counts=data.counts(),
        published=dict(published),
        unreadable={looked.name(place): seen.reason for place, seen in looked.everything() if seen.reason},
        duplicates=tuple(tuple(map(looked.name, group)) for group in looked.duplicates),
        problems=problems(looked, published, strict),
    )


def facts(data: ReIDData, name: str, seen: Sequence[Seen]) -> SplitFacts:
    split = data.splits[name]
    is_distractor = (name == "gallery") & ~np.isin(split.ids, data.query.ids)
    decoded = [one for one in seen if not one.reason]
    images_of = np.unique(split.ids[(split.ids >= 0) & ~is_distractor], return_counts=True)[1]
    return SplitFacts(
        num_images=len(split),
        num_unreadable=len(seen) - len(decoded),
        num_identities=num_known(split.ids),
        num_single=int((images_of == 1).sum()),
        images_per_identity=spread(images_of),
        num_cameras=None if split.cameras is None else num_known(split.cameras),
        images_per_camera=None if split.cameras is None else numbers_of(split.cameras.tolist()),
        num_sizes=len({one.size for one in decoded}),
        width=spread([one.size[0] for one in decoded]),
        height=spread([one.size[1] for one in decoded]),
        formats=numbers_of(one.format for one in decoded),
        modes=numbers_of(one.mode for one in decoded),
    )


def numbers_of(things: Iterable) -> dict[str, int]:
    """How many there are of each, in the order of the things."""
    return {str(thing): number for thing, number in sorted(Counter(things).items())}


def spread(numbers: Sequence[int] | np.ndarray) -> Spread | None:
    return Spread(int(min(numbers)), float(np.median(numbers)), int(max(numbers))) if len(numbers) else None
