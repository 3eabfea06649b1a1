"""Whether two images show one identity: how often a threshold on their distance is right, over all pairs of a test
split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.metrics.pairs import PairDistances

FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4)
BINS = 2**20
"""Of distances, for thresholds: 2 / 2**20 of a cosine distance each."""
MOST_POINTS = 400
"""Of a ROC curve that is kept."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Pairs within `threshold` are taken for one identity: `tpr`, the share of the right pairs, and no more than `fpr`
    of the wrong ones. Both are None where there are fewer wrong pairs than `1 / fpr`."""

    fpr: float
    tpr: float | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Verification:
    """The ROC of `num_right` and `num_wrong` pairs, as shares `fpr` and `tpr` `[P]`, both rising from 0 to 1."""

    num_right: int
    num_wrong: int
    eer: float
    """Equal error rate: where the share of the wrong pairs that are let in is that of the right ones that are not, on
    straight lines between the points of the ROC."""
    eer_threshold: float
    """Where the two shares are closest."""
    points: tuple[OperatingPoint, ...]
    fpr: np.ndarray
    tpr: np.ndarray

    def summary(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "num_right": self.num_right,
            "num_wrong": self.num_wrong,
            "eer": self.eer,
            "eer_threshold": self.eer_threshold,
            "points": [vars(point) for point in self.points],
            "roc": {"fpr": self.fpr.tolist(), "tpr": self.tpr.tolist()},
        }


def verification(pairs: PairDistances, rates: Sequence[float] = FALSE_POSITIVE_RATES) -> Verification:
    """What thresholds on the distance are worth, for pairs that are counted in fine bins (`BINS`).

    A threshold is the largest float32 of a bin, so that the shares that stand beside it are exact for it; distances
    within one bin count as equal. At a rate it is the largest one that lets in no more of the wrong pairs; where even
    the nearest ones are too many, it is below all distances.
    """
    last = np.flatnonzero(pairs.right + pairs.wrong)  # a threshold within an empty bin says the same as the one before
    right, wrong = (np.append(0, counts[last].cumsum()) for counts in (pairs.right, pairs.wrong))
    tpr, fpr = right / right[-1], wrong / wrong[-1]
    edges = np.append(pairs.edges[last[0]], pairs.edges[last + 1]).astype(np.float32)
    thresholds = np.nextafter(edges, np.float32(-1)).astype(float)
    equal = int(np.argmin(np.abs(1 - tpr - fpr)))
    chosen = _kept(fpr, tpr)
    return Verification(
        num_right=int(right[-1]),
        num_wrong=int(wrong[-1]),
        eer=pairs.equal_error_rate,
        eer_threshold=float(thresholds[equal]),
        points=tuple(_point(rate, fpr, tpr, thresholds, int(wrong[-1])) for rate in rates),
        fpr=fpr[chosen],
        tpr=tpr[chosen],
    )


def _point(rate: float, fpr: np.ndarray, tpr: np.ndarray, thresholds: np.ndarray, num_wrong: int) -> OperatingPoint:
    if num_wrong * rate < 1:
        return OperatingPoint(fpr=rate, tpr=None, threshold=None)
    place = int(np.searchsorted(fpr, rate, side="right")) - 1
    return OperatingPoint(fpr=rate, tpr=float(tpr[place]), threshold=float(thresholds[place]))


def _kept(fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """Places of so many points, evenly spread over both rates and over the logarithm of the first, that a curve through
    them looks like the whole one: at each the last point, which has the highest share of right pairs."""
    smallest = fpr[fpr > 0][0]
    wanted = np.concatenate([[0.0], np.geomspace(smallest, 1, MOST_POINTS // 2), np.linspace(0, 1, MOST_POINTS // 4)])
    by_fpr = np.searchsorted(fpr, wanted, side="right") - 1
    by_tpr = np.searchsorted(tpr, np.linspace(0, 1, MOST_POINTS // 4))
    return np.unique(np.concatenate([[0], by_fpr, by_tpr, [len(fpr) - 1]]))
