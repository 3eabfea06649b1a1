"""What a proposal is measured on while it is tuned: training identities that are held out, never the test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from nas.data.base import ReIDData, Split
from nas.data.source import DataSource
from search_spaces.ranges import OpenShare, Seed


@dataclass(frozen=True, kw_only=True)
class HeldOut(DataSource):
    """Another data set's training part alone: `share` of its identities are query and gallery, the rest is trained on.

    The test set of `source` is not looked at.
    """

    source: DataSource
    share: OpenShare = 0.2
    """Share of the training identities that are held out as query and gallery."""
    seed: Seed = 0
    """Seed of the choice of held-out identities."""

    def listed(self) -> ReIDData:
        return held_out(self.source.listed(), self.share, np.random.default_rng(self.seed))

    def load(self) -> ReIDData:
        """As the source loads it, then split. Raises ValueError when too few identities can be held out."""
        return held_out(self.source.load(), self.share, np.random.default_rng(self.seed))


def held_out(data: ReIDData, share: float, rng: np.random.Generator) -> ReIDData:
    """`data` whose query and gallery are `share` of its training identities, drawn among those that can be found again.

    An identity can be found again when two cameras see it (without cameras: when it has two images). One of its cameras
    is drawn for the gallery alone; of every other one an image is a query, the rest gallery. So each query has a match
    from another camera. Without cameras an identity has one gallery image, as in VehicleID.
    """
    train = data.train
    identities = findable(train)
    count = round(share * len(np.unique(train.ids)))
    if not 2 <= count <= len(identities):
        raise ValueError(
            f"{data.name}: {share:g} of its training identities are {count}, and 2 to {len(identities)} "
            "can be held out (those that two cameras see): change --held-out, or take more identities"
        )
    chosen = np.sort(rng.permutation(identities)[:count])
    queries = queries_of(train, chosen, rng)
    held = np.isin(train.ids, chosen)
    gallery = held.copy()
    gallery[queries] = False
    return replace(
        data,
        name=f"{data.name} (held out of training)",
        train=train.take(~held),
        query=train.take(queries),
        gallery=train.take(gallery),
        partitions=(),
    )


def queries_of(split: Split, identities: Iterable[int], rng: np.random.Generator) -> np.ndarray:
    """Ascending indices of images to look for: of each identity one from every camera but one.

    Where the other images are the gallery, each has a match there from another camera.
    """
    cameras = _cameras(split)
    queries: list[int] = []
    for identity in identities:
        images = np.flatnonzero((split.ids == identity) & (cameras >= 0))
        others = rng.permutation(np.unique(cameras[images]))[1:]
        queries += [rng.choice(images[cameras[images] == camera]) for camera in others]
    return np.sort(queries)


def findable(split: Split) -> list[int]:
    """The identities that two cameras see (without cameras: that have two images)."""
    cameras = _cameras(split)
    return [i for i in np.unique(split.ids) if len(np.unique(cameras[(split.ids == i) & (cameras >= 0)])) > 1]


def _cameras(split: Split) -> np.ndarray:
    return np.arange(len(split)) if split.cameras is None else split.cameras
