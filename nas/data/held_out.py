"""What a proposal is measured on while it is tuned: training identities that are held out, never the test set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nas.data.base import DataSource, ReIDData


@dataclass(frozen=True, kw_only=True)
class HeldOut(DataSource):
    """Another data set's training part alone: `share` of its identities are query and gallery, the rest is trained on.

    The test set of `source` is not looked at. `seed` decides which identities are held out.
    """

    source: DataSource
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"the share of identities held out must be in (0, 1), not {self.share}")

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
    cameras = np.arange(len(train)) if train.cameras is None else train.cameras
    identities = [i for i in np.unique(train.ids) if len(np.unique(cameras[(train.ids == i) & (cameras >= 0)])) > 1]
    count = round(share * len(np.unique(train.ids)))
    if not 2 <= count <= len(identities):
        raise ValueError(f"{data.name}: {share:g} of its training identities are {count}, and 2 to {len(identities)} "
                         "can be held out (those that two cameras see): change --held-out, or take more identities")
    chosen = np.sort(rng.permutation(identities)[:count])
    queries = np.sort(np.concatenate([_queries(np.flatnonzero(train.ids == i), cameras, rng) for i in chosen]))
    held = np.isin(train.ids, chosen)
    gallery = held.copy()
    gallery[queries] = False
    return replace(data, name=f"{data.name} (held out of training)", train=train.take(~held), query=train.take(queries),
                   gallery=train.take(gallery), partitions=())


def _queries(images: np.ndarray, cameras: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of one identity's `images` one from every known camera but one."""
    seen = rng.permutation(np.unique(cameras[images][cameras[images] >= 0]))
    return np.array([rng.choice(images[cameras[images] == camera]) for camera in seen[1:]])
