"""Parts of the training frames of scenes: halves for a search, and frames that are held out to measure on.

Frames are divided, not identities: people walk together, so that hardly a frame has those of one part alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from nas.data.scenes import NO_IDENTITY, SceneData, SceneSource, SceneSplit, SearchQueries
from search_spaces.ranges import OpenShare, Seed


def by_frame(num_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the frames at random: ascending indices, int64 (train, val). An odd frame goes to the first."""
    order = rng.permutation(num_frames)
    return np.sort(order[0::2]), np.sort(order[1::2])


def findable(split: SceneSplit) -> np.ndarray:
    """The identities that are in two frames or more, ascending."""
    identities, num_frames = split.num_frames_of()
    return identities[num_frames > 1]


def queries_among(split: SceneSplit, identities: Iterable[int], rng: np.random.Generator) -> SearchQueries:
    """Queries for `identities`: of each one box from every camera (without cameras: one box), drawn at random, to be
    looked for in all other frames of `split`."""
    frames, corners, ids = split.all_boxes
    cameras = np.zeros(len(frames), dtype=np.int64) if split.cameras is None else split.cameras[frames]
    chosen = [
        rng.choice(boxes[cameras[boxes] == camera])
        for identity in identities
        for boxes in [np.flatnonzero((ids == identity) & (cameras >= 0))]
        for camera in np.unique(cameras[boxes])
    ]
    places = np.sort(np.array(chosen, dtype=np.int64))
    return SearchQueries(frames=frames[places], boxes=corners[places], ids=ids[places])


@dataclass(frozen=True, kw_only=True)
class HeldOutScenes(SceneSource):
    """Another data set's training part alone: some of its frames are searched, the rest is trained on.

    The test frames of `source` are not looked at. Who is looked for has no identity in training.
    """

    source: SceneSource
    share: OpenShare = 0.2
    """Share of the frames that are searched, and of the identities in two of these that are looked for."""
    seed: Seed = 0
    """Decides which frames are held out, and who is looked for there."""

    def listed(self) -> SceneData:
        return held_out(self.source.listed(), self.share, np.random.default_rng(self.seed))

    def load(self) -> SceneData:
        """As the source loads it, then divided. Raises ValueError when too few identities can be looked for."""
        return held_out(self.source.load(), self.share, np.random.default_rng(self.seed))


def held_out(data: SceneData, share: float, rng: np.random.Generator) -> SceneData:
    """`data` whose test frames are `share` of its training frames: see `HeldOutScenes`.

    Raises ValueError when fewer than two identities can be looked for, or none is left to train on.
    """
    order = rng.permutation(len(data.train))
    count = round(share * len(order))
    test, rest = data.train.take(np.sort(order[:count])), data.train.take(np.sort(order[count:]))
    found, num_wanted = findable(test), round(share * len(data.identities))
    if not 2 <= num_wanted <= len(found):
        raise ValueError(
            f"{data.name}: {share:g} of its training identities are {num_wanted}, and 2 to {len(found)} can be looked "
            f"for in {len(test)} held-out frames (whoever is in two of them): change --held-out, or take more frames"
        )
    chosen = np.sort(rng.permutation(found)[:num_wanted])
    ids = tuple(np.where(np.isin(of_frame, chosen), NO_IDENTITY, of_frame) for of_frame in rest.ids)
    divided = replace(
        data,
        name=f"{data.name} (held out of training)",
        train=replace(rest, ids=ids),
        test=test,
        queries=queries_among(test, chosen, rng),
    )
    if not divided.identities:
        raise ValueError(f"{data.name}: no identity is left to train on: change --held-out, or take more frames")
    return divided
