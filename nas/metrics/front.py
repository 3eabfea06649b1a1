"""The Pareto front of accuracy and cost."""

from collections.abc import Sequence

import numpy as np


def front(costs: Sequence[float] | np.ndarray, accuracies: Sequence[float] | np.ndarray) -> np.ndarray:
    """A mask `[N]` of the points that no other beats: none costs as little and is as accurate, and better in one."""
    cost, accuracy = np.asarray(costs, dtype=float), np.asarray(accuracies, dtype=float)
    no_worse = (cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)
    better = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return np.logical_not((no_worse & better).any(axis=0))
